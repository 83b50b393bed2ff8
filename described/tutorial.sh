# Sourced by run_tutorial.sh --dataset: the steps of a set that a page describes. $TEMPLATE is the
# page, from the repository's root.

STEPS=(01 02 03 04 05 06 report exports)
FOLDERS="the files that $TEMPLATE describes"
name=$(sed -n "s/^name: *//p" "$TEMPLATE" | tr -cd 'A-Za-z0-9_.+\n-' | tr '[:upper:]' '[:lower:]')
SAMPLE_ROOT=sample_data_${name:-described}
GENERATOR=(described/generate_sample_archive.py --dataset "$TEMPLATE")
EXTRACTOR=described/06_extract_split_index_manifest.py
readonly BY_PATIENT=split02_by_patient

# The page, and the list of known faults that it names, go to the data; what is there stays.
put_descriptor() {
    local target=$descriptor/dataset.yaml there asked faults
    OPTION=(--dataset "$target")
    if cmp -s "$TEMPLATE" "$target" 2> /dev/null; then
        echo "$target: kept"
        return
    fi
    title "Page" 01
    asked=$(of_page "$TEMPLATE" 'print(facts.NAME)') || stop 2
    if [[ -e $target ]]; then
        there=$(of_page "$target" 'print(facts.NAME)') || stop 2
        [[ $there == "$asked" ]] || refuse "$target is the page of $there, not of $asked;\
 name that set, or remove the page and its list of known faults"
        keep "$TEMPLATE" "$target"
        return
    fi
    faults=$(of_page "$TEMPLATE" '
import os.path
print(os.path.basename(facts.KNOWN_FAULTS))')
    # The page comes last: with it the descriptor is whole.
    if [[ -n $faults && -e $descriptor/$faults ]]; then
        keep "${TEMPLATE%/*}/$faults" "$descriptor/$faults"
    elif [[ -n $faults ]]; then
        put "${TEMPLATE%/*}/$faults" "$descriptor/$faults"
    fi
    put "$TEMPLATE" "$target"
}

# keep FILE TARGET: say that the target stays, and whether it is another file.
keep() {
    local differs=''
    cmp -s "$1" "$2" 2> /dev/null || differs="; it counts, though it differs from $1"
    echo "$2: kept$differs"
}

# of_page PAGE CODE WORD...: what Python code prints of the facts of a page; fails, and says why,
# where the page is faulty.
of_page() {
    python -c "
import sys
from utils import errors
from utils.facts import described
try:
    facts = described.read(sys.argv[1])
except errors.DatasetError as error:
    sys.exit(f'Error: {errors.printable(error)}')
$2" "$1" "${@:3}"
}

# unpacked_in FOLDER: the folder itself, where it or a folder in it holds what archives consist of.
unpacked_in() {
    local found
    found=$(CDPATH='' cd -- "$1" &&
        find . -maxdepth 3 \( -name '*.nii.gz' -o -name '*.nii' -o -iname '*.zip' \) -print -quit)
    [[ -z $found ]] || echo "$1"
}

step_01() {
    title "01: list the archive" 01
    run python described/01_gen_archive_manifest.py --dataset "$descriptor/dataset.yaml" \
        --root_dir "$root/archive" --output_manifest_file "$descriptor/archive_manifest.xlsx"
}

step_02() {
    title "02: pair volumes and masks" 02
    run python described/02_confirm_pairs.py --dataset "$descriptor/dataset.yaml" \
        --root_dir "$root/archive" --output_dir "$grouped" \
        --archive_manifest "$descriptor/archive_manifest.xlsx"
}

step_03() {
    title "03: one binary mask per label" 03
    run python described/03_extract_binary_masks.py --dataset "$descriptor/dataset.yaml" \
        --root_dir "$grouped"
}

step_04() {
    title "04: check all samples and index them" 04
    index "$grouped/dataset_manifest.xlsx" python described/04_gen_dataset_manifest.py \
        --dataset "$descriptor/dataset.yaml" --root_dir "$grouped"
}

step_05() {
    title "05: splits" 05
    has_manifest || return 0
    run python described/05_make_split01_standard.py --dataset "$descriptor/dataset.yaml" \
        --manifest_file "$grouped/dataset_manifest.xlsx" --split_name "$SPLIT"
    if [[ -z $(of_page "$descriptor/dataset.yaml" 'print(*facts.PATIENT_KEYS)') ]]; then
        echo "$BY_PATIENT: skipped, the page names no patients"
        return
    fi
    run python described/05_make_split02_by_patient.py --dataset "$descriptor/dataset.yaml" \
        --manifest_file "$grouped/dataset_manifest.xlsx" --split_name "$BY_PATIENT"
}

step_06() {
    extract_splits "$SPLIT" "$BY_PATIENT"
}

step_exports() {
    local manifest=$grouped/dataset_manifest.xlsx name folds=''
    title "Export for nnU-Net" exports
    has_manifest || return 0
    name=$(of_page "$descriptor/dataset.yaml" 'print(facts.NAME)') || stop 2
    [[ -z $(subsets_of "$manifest" "$SPLIT") ]] || folds=$(folds_for "$manifest") || stop 2
    # shellcheck disable=SC2086  # an option and its value, or nothing
    export_to_train "$manifest" "$SPLIT" 240 "${name//[^A-Za-z0-9_.]/_}" $folds
}

# folds_for MANIFEST: --folds 5 where the split has nothing to validate on, and patients enough.
folds_for() {
    of_page "$descriptor/dataset.yaml" '
from utils.exports import cases
from utils.facts import patients
found = [case for case in cases.read(sys.argv[2], sys.argv[3]).cases if case.is_trained_on]
found = [case for case in found if case.row["mask"]]
n_patients = len({*patients.group({case.id: case.row for case in found}, facts).values()})
print("--folds 5" if n_patients >= 5 and not cases.of_subset(found, "val") else "")' "$1" "$SPLIT"
}

overview() {
    printf '\n== What lies where ==\n'
    entry "$descriptor/dataset.yaml" "the page that describes the set"
    entry "$descriptor/archive_manifest.xlsx" "the archive's files; check it, then --from 02"
    entry "$grouped" "the samples"
    entry "$grouped/dataset_manifest.xlsx" "one row per sample, and a worksheet for each split"
    entry "$grouped/splits" "one workbook per split and subset"
    made_last
}
