# Sourced by run_tutorial.sh --dataset nme: the steps of NME in place of those of AMOS22.

STEPS=(01 02 03 04 05 06 report exports)
OPTION=(--dataset nme)
FOLDERS="NME-Seg-2025.8.25-train-val, NME-Seg-2025.8.25-test-inner-01, ..."
MEMBER='NME-Seg-2025.8.25-*'
SAMPLE_ROOT=sample_data_nme
GENERATOR=NME/generate_sample_archive.py
TEMPLATE=descriptor_templates/NME/label_map.yaml
EXTRACTOR=NME/06_extract_split_index_manifest.py

# Name of a split|its sites|their collections. The split across sites has all samples.
readonly OUTER_COLLECTIONS="test-outer-02 test-outer-03 test-outer-04"
readonly PREDEFINED=(
    "split01_Tongji|Tongji|train-val test-inner-01"
    "split02_Yunnan|Yunnan|test-outer-02"
    "split03_Zhongnan|Zhongnan|test-outer-03"
    "split04_HKU-SZH|HKU-SZH|test-outer-04"
    "split05_External|Yunnan Zhongnan HKU-SZH|$OUTER_COLLECTIONS"
    "split06_Whole|Tongji Yunnan Zhongnan HKU-SZH|train-val test-inner-01 $OUTER_COLLECTIONS"
)
readonly ACROSS_SITES=split07_Mix

step_01() {
    title "01: list the archive" 01
    run python NME/01_gen_archive_manifest.py --root_dir "$root/archive" \
        --output_manifest_file "$descriptor/archive_manifest.xlsx"
}

step_02() {
    title "02: pair volumes and masks" 02
    run python NME/02_confirm_pairs.py --root_dir "$root/archive" --output_dir "$grouped" \
        --archive_manifest "$descriptor/archive_manifest.xlsx"
}

step_03() {
    title "03: one binary mask per label" 03
    run python NME/03_extract_binary_masks.py --root_dir "$grouped" \
        --label_explanation "$descriptor/label_map.yaml"
}

step_04() {
    title "04: check all samples and index them" 04
    index "$grouped/dataset_manifest.xlsx" \
        python NME/04_gen_dataset_manifest.py --root_dir "$grouped"
}

step_05() {
    local split name sites collections absent
    title "05: splits" 05
    has_manifest || return 0
    for split in "${PREDEFINED[@]}"; do
        IFS='|' read -r name sites collections <<< "$split"
        absent=$(absent_of "$collections")
        if [[ -n $absent ]]; then
            echo "$name: skipped, no samples of$absent"
            continue
        fi
        # shellcheck disable=SC2086  # sites and collections are words of the command
        run python NME/05_make_split_predefined.py \
            --manifest_file "$grouped/dataset_manifest.xlsx" --split_name "$name" \
            --site $sites --collection $collections
    done
    run python NME/05_make_split_across_sites.py --manifest_file "$grouped/dataset_manifest.xlsx" \
        --split_name "$ACROSS_SITES" --test_ratio 0.3 --val_ratio 0.2 --random_seed 0
}

# absent_of COLLECTIONS: those without a sample, each after a blank.
absent_of() {
    local collection site has
    for collection in $1; do
        has=no
        for site in "$grouped"/*/"$collection"; do
            ! has_samples "$site" || has=yes
        done
        [[ $has == yes ]] || printf ' %s' "$collection"
    done
}

step_06() {
    extract_splits "${PREDEFINED[@]%%|*}" "$ACROSS_SITES"
}

# The split that has a train subset of its own, else the one across the sites that are there.
step_exports() {
    local manifest=$grouped/dataset_manifest.xlsx split
    title "Export for nnU-Net" exports
    has_manifest || return 0
    for split in "${PREDEFINED[0]%%|*}" "$ACROSS_SITES"; do
        [[ -z $(subsets_of "$manifest" "$split") ]] || break
    done
    export_to_train "$manifest" "$split" 230 NME
}

overview() {
    printf '\n== What lies where ==\n'
    entry "$descriptor/archive_manifest.xlsx" "the archive's files; check it, then --from 02"
    entry "$grouped" "the samples, each in SITE/COLLECTION/SUBSET/SEQ_PID"
    entry "$grouped/dataset_manifest.xlsx" "one row per sample, and a worksheet for each split"
    entry "$grouped/splits" "one workbook per split and subset"
    made_last
}
