"""Draft the page that describes a data set, from a look at its archive.

Looks through --root_dir, folders and zip files, for NIfTI files; finds out which are volumes and
which masks, what varies in their names, which labels occur in some masks, which folders, JSON file
or table tell the split, and which table has metadata. Writes dataset.yaml into the folder
descriptor beside --root_dir, or to --output; a file that is there is never replaced. What is not
certain is marked by a comment "# check: ...". DICOM files have to be converted first: dcm2niix.

\b
  python described/new_dataset.py --root_dir root_dir/archive
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from utils.routines import page_draft
from utils.running import cli, shared_options
from utils.storage import files


@cli.routine(__doc__, images=False)
@shared_options.root_dir
@shared_options.optional(
    "--output",
    shared_options.TEXT,
    "Page to write; - prints it.",
    metavar="PAGE",
    show_default="descriptor/dataset.yaml beside --root_dir",
)
def main(root_dir, output):
    path = page_draft.place(root_dir, output)
    text, summary = page_draft.make(root_dir)
    if path is None:
        cli.tell(*text.splitlines())
        cli.print_note("draft", *summary)
        return
    files.put(page_draft.place(root_dir, output), text.encode("utf-8"))  # meanwhile made?
    cli.tell(*summary, f"page: {path}")


if __name__ == "__main__":
    main()
