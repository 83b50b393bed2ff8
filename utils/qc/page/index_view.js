// The list of samples with its summary, filters and order; plots; how samples are judged; help.
"use strict";

(function () {
  QC.views.samples = { title: "Samples", show: (route, main) => main.append("…") };
})();
