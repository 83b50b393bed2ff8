# Sourced by run_tutorial.sh and run_tests.sh: makes .venv with all packages, once.

# setup_venv FILE...: a virtual environment in .venv that has what these requirement files list.
#
# Copies of the files in .venv tell what is installed: as long as they are equal nothing is done
# and no network needed. An installation that was interrupted starts again from nothing.
setup_venv() {
    local marker=.venv/installing pid file
    local -a missing=() options=()
    # Where there is a Rust compiler pip asks for its version, which may write settings.
    local -x RUSTUP_HOME=$PWD/.venv/rustup
    if [[ -e $marker ]]; then
        pid=$(< "$marker")
        if [[ -n $pid ]] && kill -0 "$pid" 2> /dev/null; then
            refuse "another installation is at work (process $pid); else remove $PWD/$marker"
        fi
        rm -rf .venv
    fi
    if ! .venv/bin/python -c '' 2> /dev/null; then
        make_venv "$marker"
    fi
    for file in "$@"; do
        options+=(-r "$file")
        cmp -s "$file" ".venv/installed-$file" || missing+=("$file")
    done
    if (( ${#missing[@]} )); then
        echo "Installing the packages of ${missing[*]} into .venv ..."
        echo "$$" > "$marker"
        .venv/bin/python -c 'import pip' 2> /dev/null || .venv/bin/python -m ensurepip > /dev/null
        # Nothing is written outside .venv, and no cache into the home folder.
        .venv/bin/python -m pip install --quiet --no-cache-dir --disable-pip-version-check \
            "${options[@]}" ||
            refuse "the packages could not be installed (see above); the same command tries again"
        for file in "${missing[@]}"; do
            cp "$file" ".venv/installed-$file"
        done
    fi
    rm -f "$marker"
}

make_venv() {
    local python=${PYTHON:-python3}
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2> /dev/null ||
        refuse "$python is missing or too old; needed is Python 3.10 or newer (PYTHON=... chooses)"
    echo "Making the virtual environment .venv ..."
    rm -rf .venv
    mkdir .venv
    echo "$$" > "$1"
    "$python" -m venv .venv ||
        refuse "$python -m venv failed (Debian and Ubuntu: apt install python3-venv)"
}

# refuse MESSAGE: one line on stderr, whatever it names, exit status 2.
refuse() {
    echo "${0##*/}: ${1//[[:cntrl:]]/?}" >&2
    exit 2
}
