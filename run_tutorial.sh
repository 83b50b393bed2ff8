#!/usr/bin/env bash
# From an archive to the finished data set; see usage below. NME/tutorial.sh has what differs for
# NME, described/tutorial.sh what differs for sets that a page describes.
set -euo pipefail

usage() {
    cat << 'END'
Usage: ./run_tutorial.sh [--dataset NAME] [--from STEP] [--without STEP] [ROOT]

  From an archive to the finished data set, the report on it and what nnU-Net trains on: runs the
  commands of the README one after the other and prints each as it would be typed. The first time
  it makes .venv and installs requirements.txt there.

  ROOT/archive holds the archive, unpacked or in zip files (of AMOS22 also the table). Results go to
  ROOT/descriptor and ROOT/grouped (masks as they were before denoising to ROOT/before_denoising),
  the report to ROOT/qc, the exports to ROOT/nnUNet_raw. Without ROOT a small made-up archive is
  written to sample_data (or sample_data_nme, sample_data_ct-org and so on) and taken.

  What is finished is skipped: the same command continues an interrupted run.

Options:
  --dataset NAME  amos22, which is the default; nme: the commands of NME/README.md; the folder of
                  a page in descriptor_templates, such as ct-org or msd/task03_liver, or the path
                  of a page: the commands of described/README.md. The page is copied to
                  ROOT/descriptor/dataset.yaml; one that is there counts.
  --from STEP     Begin with a later step: 01 02 03 04 denoise 05 06 07 report exports (all other
                  sets: 01 to 06 report exports). With --from 02 a manifest that was corrected by
                  hand after routine 01 is taken as it is.
  --without STEP  Leave out what is optional: denoise (AMOS22 alone), report or exports. May be
                  repeated.
  -h, --help      Show this message and exit.

Exit status: 0 all done; 1 some samples failed, all others are done (the routines concerned are
named at the end); 2 wrong usage or missing input, stopped there.
END
}

STEPS=(01 02 03 04 denoise 05 06 07 report exports)
readonly OPTIONAL="denoise report exports"
FOLDERS="imagesTr, labelsTr, ..."  # what is expected in the archive
MEMBER=imagesTr                    # one of these folders, or a pattern of them
SAMPLE_ROOT=sample_data
GENERATOR=utils/generate_sample_archive.py
TEMPLATE=descriptor_templates/label_map.yaml
EXTRACTOR=07_extract_split_index_manifest.py
readonly SPLIT=split01_standard
# What gets a manifest, relative to grouped: all of AMOS22 and its two parts.
readonly MANIFESTS=(dataset_manifest.xlsx AMOS-CT/dataset_manifest_amos_ct.xlsx
                    AMOS-MRI/dataset_manifest_amos_mri.xlsx)
# What report and exports call the data set. Before version 4.4 bash takes an empty list for an
# unset one; what may be empty is therefore written ${LIST[@]+"${LIST[@]}"}.
OPTION=()
failed=()    # commands that ended with exit status 1
failed_in="" # the step of the first of them
not_made=""  # dataset manifests that were not written in this run
without=()   # steps that are left out

main() {
    local from=01 root='' have_root=no
    dataset=amos22  # for all functions below
    while (( $# )); do
        case $1 in
            -h | --help) usage; exit 0 ;;
            --from) (( $# > 1 )) || refuse "--from needs a step: ${STEPS[*]}"; from=$2; shift ;;
            --from=*) from=${1#*=} ;;
            --without) (( $# > 1 )) || refuse "--without needs a step: $OPTIONAL"
                       without+=("$2"); shift ;;
            --without=*) without+=("${1#*=}") ;;
            --dataset) (( $# > 1 )) || refuse "--dataset needs a name such as amos22, or a page"
                       dataset=$2; shift ;;
            --dataset=*) dataset=${1#*=} ;;
            -*) refuse "no such option: $1 (see --help)" ;;
            *) [[ $have_root == no ]] || refuse "one ROOT expected, found a second: $1"
               root=$1 have_root=yes ;;
        esac
        shift
    done
    take_dataset
    [[ $from == [1-7] ]] && from=0$from
    [[ " ${STEPS[*]} " == *" $from "* && $from != *' '* ]] ||
        refuse "no such step: $from; expected one of ${STEPS[*]}"
    check_without
    while [[ $root == ?*/ ]]; do root=${root%/}; done
    [[ $have_root == no ]] || check_root "$root"
    as_typed=$root  # for stop
    [[ $have_root == no ]] || root=$(CDPATH='' cd -- "$root" && pwd)
    # They would reach the terminal with every line that names a file.
    [[ $root != *[[:cntrl:]]* ]] || refuse "control characters in the path of ROOT: $root"
    CDPATH='' cd -- "$repository"
    root=${root#"$PWD"/}
    setup_venv requirements.txt
    echo "In $PWD:"
    show source .venv/bin/activate
    export VIRTUAL_ENV=$PWD/.venv PATH=$PWD/.venv/bin:$PATH
    run_steps "$from" "${root:-$SAMPLE_ROOT}" "$have_root"
}

check_without() {
    local step optional=''
    for step in $OPTIONAL; do
        [[ " ${STEPS[*]} " != *" $step "* ]] || optional+=" $step"
    done
    (( ${#without[@]} )) || return 0
    for step in "${without[@]}"; do
        [[ "$optional " == *" $step "* && -n $step && $step != *' '* ]] ||
            refuse "no step that can be left out: $step; expected one of$optional"
    done
}

# take_dataset: the steps of the data set in place of those of AMOS22, where it is another one.
take_dataset() {
    local page known
    is_same "$dataset" amos22 && return
    if is_same "$dataset" nme; then
        source "$repository/NME/tutorial.sh"
        return
    fi
    page=$(page_of "$dataset")
    if [[ -z $page ]]; then
        known=$(pages | sed 's/ .*//' | tr '\n' ' ')
        refuse "no such data set: $dataset; expected amos22, nme, a page, or one of: ${known% }"
    fi
    [[ $page != *[[:cntrl:]]* ]] || refuse "control characters in the path of the page: $page"
    TEMPLATE=${page#"$repository"/}
    CDPATH='' cd -- "$repository" > /dev/null
    source described/tutorial.sh
    CDPATH='' cd -- "$OLDPWD" > /dev/null
}

# is_same WORD OTHER: whether they differ in capitals at the most.
is_same() (
    shopt -s nocasematch
    [[ $1 == "$2" ]]
)

# pages: names of the pages in descriptor_templates, each with its path after a blank.
pages() {
    local path templates=$repository/descriptor_templates
    while IFS= read -r path; do
        path=${path#"$templates"/}
        echo "${path%/dataset.yaml} $templates/$path"
    done < <(find "$templates" -name dataset.yaml | sort)
}

# page_of NAME: the path of a page, given or found by the name of its folder; nothing without one.
page_of() {
    local name path
    if [[ -f $1 ]]; then
        echo "$(CDPATH='' cd -- "$(dirname -- "$1")" && pwd)/${1##*/}"
        return
    fi
    while IFS=' ' read -r name path; do
        if is_same "$1" "$name" || is_same "$1" "${name##*/}"; then
            echo "$path"
            return
        fi
    done < <(pages)
}

check_root() {
    local parts="$FOLDERS at any depth below it" meant
    [[ -n $1 ]] || refuse "ROOT is empty"
    [[ -d $1 ]] || refuse "no such folder: $1; expected one with archive/ in it ($parts)"
    [[ ! -d $1/archive ]] || return 0
    meant=$(meant_root "$1")
    [[ -z $meant ]] || refuse "no such folder: $1/archive; probably meant: $meant"
    meant=$(unpacked_in "$1")
    [[ -z $meant ]] || refuse "no such folder: $1/archive; $meant holds an archive: move it there"
    refuse "no such folder: $1/archive; expected the archive there ($parts)"
}

# meant_root FOLDER: the ROOT whose part the folder is, or else the only ROOT in it.
meant_root() {
    local folder
    local -a inside
    folder=$(CDPATH='' cd -- "$1" && pwd)
    while [[ -n $folder ]]; do
        if [[ ${folder##*/} =~ ^(archive|grouped|descriptor)$ && -d ${folder%/*}/archive ]]; then
            echo "${folder%/*}"
            return
        fi
        folder=${folder%/*}
    done
    shopt -s nullglob  # in a subshell, as all that is called in $(...)
    inside=("$1"/*/archive/)
    (( ${#inside[@]} != 1 )) || echo "${inside[0]%/archive/}"
}

# unpacked_in FOLDER: what holds the folders of an archive, the folder itself or one in it.
unpacked_in() {
    local found
    for found in "$1"/$MEMBER "$1"/*/$MEMBER "$1"/*.zip; do  # a pattern, not quoted
        if [[ -d $found || ( -f $found && $found == *.zip ) ]]; then
            dirname -- "$found"
            return
        fi
    done
}

# run_steps FROM ROOT IS_GIVEN
run_steps() {
    local from=$1 step begun=no
    root=$2 grouped=$2/grouped descriptor=$2/descriptor is_given=$3  # for all functions below
    if [[ $is_given == no ]]; then
        title "Sample archive" 01
        run python "${GENERATOR[@]}" --root_dir "$root"
    fi
    put_descriptor
    for step in "${STEPS[@]}"; do
        [[ $step == "$from" ]] && begun=yes
        [[ $begun == no || " ${without[*]-} " == *" $step "* ]] || "step_$step"
    done
    overview
    what_next
    list_failed
}

put_descriptor() {
    local target=$descriptor/label_map.yaml
    [[ ! -e $target ]] || return 0
    title "Label map" 01
    put "$TEMPLATE" "$target"
}

# put FILE TARGET: copy a file, and say so.
put() {
    local folder
    folder=$(dirname -- "$2")
    show mkdir -p "$folder"
    show cp "$1" "$2"
    # Under its own name only when it is whole: a run may be killed at any moment.
    { mkdir -p "$folder" && cp "$1" "$2.part" && mv "$2.part" "$2"; } ||
        refuse "$2 cannot be written"
}

step_01() {
    title "01: list the archive" 01
    run python 01_gen_archive_manifest.py --root_dir "$root/archive" \
        --output_manifest_file "$descriptor/archive_manifest.xlsx"
}

step_02() {
    title "02: pair volumes and masks" 02
    run python AMOS-CT/02_amos_ct_confirm_pairs.py --root_dir "$root/archive" \
        --output_dir "$grouped/AMOS-CT" --archive_manifest "$descriptor/archive_manifest.xlsx"
    run python AMOS-MRI/02_amos_mri_confirm_pairs.py --root_dir "$root/archive" \
        --output_dir "$grouped/AMOS-MRI" --archive_manifest "$descriptor/archive_manifest.xlsx"
}

step_03() {
    title "03: tell prostate and uterus apart" 03
    run python 03_split_prostate_uterus_label.py --root_dir "$grouped"
}

step_04() {
    title "04: one binary mask per label" 04
    run python 04_extract_binary_masks.py --root_dir "$grouped" \
        --label_explanation "$descriptor/label_map.yaml"
}

step_denoise() {
    title "Denoising, with the small regions before and after" denoise
    detect_before 300.0 small_connected_region_300_manifest.xlsx
    detect_before 100.0 small_connected_region_100_manifest.xlsx
    run python utils/morphological_open_close_on_slice_small_region.py --root_dir "$grouped" \
        --output_dir "$grouped" --kernel_size 5 5 --filter_halfedge 3 --region_area_thresh 10.0
    detect 100.0 small_connected_region_100_after_modification_manifest.xlsx
}

# detect_before THRESHOLD WORKBOOK: a second run would find denoised masks, so the first one counts.
detect_before() {
    if [[ -e $descriptor/$2 ]]; then
        echo "$descriptor/$2: kept, it tells of the masks before denoising"
    else
        detect "$1" "$2"
    fi
}

# detect THRESHOLD WORKBOOK
detect() {
    run python utils/small_connected_region_detect.py --root_dir "$grouped" \
        --region_volume_thresh "$1" --output_manifest "$descriptor/$2"
}

step_05() {
    title "05: check all samples and index them" 05
    for_each_set index_set
}

step_06() {
    title "06: the published split" 06
    for_each_set split_set
}

step_07() {
    title "07: index manifests of the subsets" 07
    for_each_set extract_set
}

step_report() {
    local manifest=$grouped/dataset_manifest.xlsx
    local -a shown=(--root_dir "$grouped" --manifest_file "$manifest")
    title "Report" report
    if ! has_samples "$grouped"; then
        echo "$grouped: skipped, it has no samples"
        return
    fi
    # Where the check of all samples has failed the report is needed most.
    if [[ $not_made == *"|${manifest##*/}|"* || ! -e $manifest ]]; then
        echo "No manifest was written: all samples below $grouped, by their info files"
        shown=(--root_dir "$grouped")
    fi
    run python utils/render_qc_report.py ${OPTION[@]+"${OPTION[@]}"} "${shown[@]}" \
        --output_dir "$root/qc"
}

step_exports() {
    title "Exports for nnU-Net" exports
    for_each_set export_set "${MANIFESTS[@]:1}"
}

# for_each_set FUNCTION [MANIFEST...]: FUNCTION FOLDER MANIFEST for all of AMOS22 and its two parts,
# or for these.
for_each_set() {
    local name folder function=$1
    shift
    (( $# )) || set -- "${MANIFESTS[@]}"
    for name in "$@"; do
        folder=$(dirname -- "$grouped/$name")
        if [[ $folder != "$grouped" ]] && ! has_samples "$folder"; then
            echo "$folder: skipped, it has no samples"
        elif [[ $not_made == *"|$name|"* ]]; then
            echo "$folder: skipped, routine 05 wrote no manifest"
        else
            "$function" "$folder" "$grouped/$name"
        fi
    done
}

index_set() {
    index "$2" python 05_gen_dataset_manifest.py --root_dir "$1"
}

# index MANIFEST WORD...: run what writes a dataset manifest, and remember where it wrote none.
index() {
    local n_failed=${#failed[@]}
    run "${@:2}" --output_manifest_file "$1"
    (( ${#failed[@]} == n_failed )) || not_made+="|${1#"$grouped"/}|"
}

split_set() {
    run python 06_make_split01_standard.py --manifest_file "$2" --split_name "$SPLIT"
}

extract_set() {
    local subset present='' absent=''
    for subset in train val test; do
        if has_samples "$1" "$subset"; then present+=" $subset"; else absent+=" $subset"; fi
    done
    [[ -z $absent ]] || echo "$1: no samples in$absent, left out of --subsets"
    extract "$2" "$SPLIT" "$1/splits/$SPLIT" "$present"
}

# extract MANIFEST SPLIT OUTPUT SUBSETS: index manifests of the usual groups of these subsets.
extract() {
    local group subset
    local -a options=()
    for group in "train val" train val test; do
        for subset in $group; do
            [[ " $4 " == *" $subset "* ]] || continue 2
        done
        # shellcheck disable=SC2206  # the words of a group are words of the command
        options+=(--subsets $group)
    done
    # With nothing left the routine itself says what is missing.
    (( ${#options[@]} )) || options=(--subsets train)
    run python "$EXTRACTOR" --manifest_file "$1" --split_name "$2" \
        --output_index_manifest_dir "$3" "${options[@]}"
}

export_set() {
    if [[ $2 == *_mri.xlsx ]]; then
        export_to_train "$2" "$SPLIT" 219 AMOS22_MRI --ignore_labels 14 15 16
    else
        export_to_train "$2" "$SPLIT" 218 AMOS22_CT
    fi
}

# export_to_train MANIFEST SPLIT ID NAME OPTION...: unless there is nothing to train on.
export_to_train() {
    if ! has_masks "$1" "$2"; then
        echo "$(dirname -- "$1"): skipped, $2 has no masks to train on"
        return
    fi
    run python utils/export_nnunet.py ${OPTION[@]+"${OPTION[@]}"} --manifest_file "$1" \
        --split_name "$2" --output_dir "$root/nnUNet_raw" --dataset_id "$3" \
        --dataset_name "$4" "${@:5}"
}

# has_masks MANIFEST SPLIT: is there a mask in train, or in a fold? Without the split, or where it
# cannot be read, the routine itself says what is wrong.
has_masks() {
    [[ ! -e $1 ]] || python -c '
import sys
from utils import errors
from utils.exports import cases
try:
    found = cases.read(*sys.argv[1:], None).cases
except errors.DatasetError:
    sys.exit(0)
sys.exit(not any(case.is_trained_on and case.row["mask"] for case in found))' "$1" "$2"
}

# extract_splits SPLIT...: step 06 of the sets with one manifest: index manifests of these splits.
extract_splits() {
    local name manifest=$grouped/dataset_manifest.xlsx present
    title "06: index manifests of the subsets" 06
    has_manifest || return 0
    for name in "$@"; do
        present=$(subsets_of "$manifest" "$name")
        if [[ -n $present ]]; then
            extract "$manifest" "$name" "$grouped/splits/$name" "$present"
        else
            echo "$name: skipped, there is no such split"
        fi
    done
}

# subsets_of MANIFEST SPLIT: the subsets that the split has samples in; none without the split.
subsets_of() {
    [[ ! -e $1 ]] || python -c '
import sys
from utils.storage import workbook
path, name = sys.argv[1:]
book = workbook.Workbook(path)
print(*sorted(set(book.table(name)[name])) if name in book.names else [])' "$1" "$2"
}

has_manifest() {
    [[ -z $not_made ]] || { echo "skipped, routine 04 wrote no manifest"; return 1; }
}

# has_samples FOLDER [SUBSET]: is there a volume below it, in this subset?
has_samples() {
    local found=''
    [[ ! -d $1 ]] ||
        found=$(CDPATH='' cd -- "$1" && find . -path "*/${2:-*}/*_volume.nii.gz" -print -quit)
    [[ -n $found ]]
}

# title TEXT STEP: a heading; STEP is where a run that stops here is to be continued.
title() {
    current=$2
    printf '\n== %s ==\n' "$1"
}

# quoted WORD...: the words as a shell reads them.
quoted() {
    local word line=''
    for word in "$@"; do
        [[ $word =~ ^[A-Za-z0-9_./:=@%+,-]+$ ]] || word="'${word//\'/\'\\\'\'}'"
        line+=" $word"
    done
    echo "${line# }"
}

# show WORD...: a command as a person would type it.
show() {
    echo "\$ $(quoted "$@")"
}

# run WORD...: show a command and run it; 1 is remembered, any other failure ends everything.
run() {
    local status=0
    show "$@"
    "$@" || status=$?
    if (( status == 1 )); then
        failed+=("$(quoted "$@")")
        failed_in=${failed_in:-$current}
    elif (( status )); then
        stop "$status"
    fi
}

# stop STATUS: ends everything, and says how to go on.
stop() {
    local again step is_edited=no
    again=$(quoted "${called[@]}")
    is_same "$dataset" amos22 || again+=" --dataset $(quoted "$dataset")"
    for step in ${without[@]+"${without[@]}"}; do again+=" --without $step"; done
    [[ $1 != 2 || $current != 01 || ! -e $descriptor/archive_manifest.xlsx ]] || is_edited=yes
    # What an earlier step missed, such as the metadata table, would stop this one again.
    [[ $1 != 2 || -z $failed_in ]] || current=$failed_in
    [[ $current == 01 ]] || again+=" --from $current"
    [[ $is_given == no ]] || again+=" $(quoted "$as_typed")"
    echo >&2
    echo "run_tutorial.sh: stopped, the last command ended with exit status $1." >&2
    echo "To continue: $again" >&2
    if [[ $is_edited == yes ]]; then
        echo "(--from 02 takes archive_manifest.xlsx as it is, corrections by hand included.)" >&2
    fi
    if [[ " $OPTIONAL " == *" $current "* ]]; then
        echo "(--without $current leaves that step out.)" >&2
    fi
    list_failed || true
    exit "$1"
}

overview() {
    printf '\n== What lies where ==\n'
    entry "$descriptor/archive_manifest.xlsx" "the archive's files; check it, then --from 02"
    entry "$descriptor/small_connected_region_100_manifest.xlsx" "small regions before denoising"
    entry "$descriptor/small_connected_region_100_after_modification_manifest.xlsx" "and after it"
    entry "$grouped" "the samples, each in SUBSET/SCANNER/amos_SEQ_SEX of AMOS-CT or AMOS-MRI"
    entry "$grouped/${MANIFESTS[0]}" "one row per sample, with the published split"
    entry "$grouped/${MANIFESTS[1]}" "the same of the CT samples"
    entry "$grouped/${MANIFESTS[2]}" "the same of the MRI samples"
    entry "$grouped/splits/$SPLIT" "one workbook per subset; also in AMOS-CT and AMOS-MRI"
    made_last
}

# made_last: the lines of the overview on what comes after the index manifests.
made_last() {
    entry "$root/before_denoising" "the masks that denoising changed, as they were before"
    entry "$root/qc/index.html" "the report: a page for every sample, and what looks wrong"
    entry "$root/nnUNet_raw" "raw data sets of nnU-Net v2"
}

# what_next: what to open, and what to type.
what_next() {
    local path raw=$root/nnUNet_raw number
    [[ -e $root/qc/index.html || -d $raw ]] || return 0
    printf '\n== What next ==\n'
    [[ ! -e $root/qc/index.html ]] || echo "Open $root/qc/index.html in a browser."
    [[ -d $raw ]] || return 0
    echo "With nnU-Net v2 type (each export above ended with all that follows, training included):"
    path=$(CDPATH='' cd -- "$root" && pwd)
    for number in raw preprocessed results; do
        show export "nnUNet_$number=$path/nnUNet_$number"
    done
    for path in "$raw"/Dataset[0-9][0-9][0-9]_*/dataset.json; do
        number=${path#"$raw"/Dataset}
        [[ ! -e $path ]] ||
            show nnUNetv2_plan_and_preprocess -d $(( 10#${number%%_*} )) -c 3d_fullres \
                --verify_dataset_integrity --clean
    done
}

# entry PATH TEXT: a line of the overview, for what is there.
entry() {
    [[ ! -e $1 ]] || printf '  %s\n      %s\n' "$1" "$2"
}

# list_failed: names the commands that ended with exit status 1; returns 1 if there are any.
list_failed() {
    (( ${#failed[@]} )) || return 0
    echo >&2
    echo "Some samples failed, or the data are inconsistent (exit status 1; see FAILED above):" >&2
    printf '  %s\n' "${failed[@]}" >&2
    return 1
}

# Output that cannot be printed is no reason to stop: closed, on a full disk, or read by nobody.
{ true <&0; } 2> /dev/null || exec < /dev/null
{ true >&1; } 2> /dev/null || exec > /dev/null
true >&2 || exec 2> /dev/null
trap '' PIPE
echo() { builtin echo "$@" 2> /dev/null || true; }
printf() { builtin printf "$@" 2> /dev/null || true; }

# How it was called, for the advice to call it again from the same folder.
called=("$0")
[[ $0 == */* && -x $0 ]] || called=(bash "$0")
repository=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
source "$repository/setup_venv.sh"
main "$@"
