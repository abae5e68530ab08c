# Counts what llvm-cov found, by file and by crate. Reads ci/coverage.txt, then lcov's format: of a file (SF) lines (DA) and
# branches (BRDA) with how often they were reached. Variables: root, the folder of the repository; missed, the file for what
# was not reached; seconds that the tests took.

function percent(part, whole) { return whole ? 100 * part / whole : 100 }

function row(name, lines, covered, branches, taken) {
    printf "%-44s %5d %6.1f %% %6d %6.1f %%\n", name, lines, percent(covered, lines), branches, percent(taken, branches)
}

FNR == NR {
    if ($1 ~ /^-/) {
        path = substr($1, 2)
        if (NF < 2) { print "ci/coverage.txt: no reason for " path; failed = 1 }
        excluded[path] = 1
    } else if ($1 !~ /^#/ && NF == 3) {
        crate[++crates] = $1; floor_lines[$1] = $2; floor_branches[$1] = $3
    }
    next
}

/^SF:/ {
    file = substr($0, 4)
    sub("^" root, "", file)
    counts = file in excluded ? 0 : 1
    if (!counts) found[file] = 1
    # A module of unit tests stands at the end of its file.
    last = number = 0
    while ((getline text < file) > 0) {
        number++
        source[file, number] = text
        if (text ~ /^#\[cfg\(test\)\]/) marked = number
        if (text ~ /^mod tests \{/ && marked == number - 1) { last = marked; break }
    }
    close(file)
    if (counts) files[++count] = file
}
counts && /^DA:/ {
    split(substr($0, 4), part, ",")
    if (last && part[1] >= last) next
    lines[file]++
    if (part[2] > 0) covered[file]++
    else print file ":" part[1] ": line: " source[file, part[1]] > missed
}
counts && /^BRDA:/ {
    split(substr($0, 6), part, ",")
    if (last && part[1] >= last) next
    branches[file]++
    if (part[4] != "-" && part[4] > 0) taken[file]++
    else print file ":" part[1] ": branch, " (part[3] % 2 ? "false" : "true") ": " source[file, part[1]] > missed
}

END {
    printf "%-44s %5s %8s %6s %8s\n", "", "lines", "", "branches", ""
    for (i = 1; i <= crates; i++) {
        name = crate[i]
        prefix = "crates/" name "/src/"
        for (j = 1; j <= count; j++) {
            file = files[j]
            if (index(file, prefix) != 1) continue
            row(file, lines[file], covered[file], branches[file], taken[file])
            l[name] += lines[file]; c[name] += covered[file]; b[name] += branches[file]; t[name] += taken[file]
            absent[file] = lines[file] - covered[file] + branches[file] - taken[file]
        }
        row(name, l[name], c[name], b[name], t[name])
        # A floor for nothing is no floor.
        if (!l[name]) { print "no lines of " name; failed = 1 }
    }
    for (file in excluded) if (!(file in found)) { print "ci/coverage.txt leaves out " file ", which is not there"; failed = 1 }
    for (n = 1; n <= 5; n++) {
        most = ""
        for (file in absent) if (absent[file] > 0 && (most == "" || absent[file] > absent[most])) most = file
        if (most == "") break
        worst = worst (n > 1 ? ", " : "") most " (" absent[most] ")"
        delete absent[most]
    }
    print "most is missed in: " worst
    for (i = 1; i <= crates; i++) {
        name = crate[i]
        lines_of = percent(c[name], l[name]); branches_of = percent(t[name], b[name])
        summary = summary sprintf("%s%s %.1f %% of lines (floor %d), %.1f %% of branches (floor %d)", \
            i > 1 ? "; " : "", name, lines_of, floor_lines[name], branches_of, floor_branches[name])
        if (lines_of < floor_lines[name] || branches_of < floor_branches[name]) { summary = summary " BELOW"; failed = 1 }
    }
    print "coverage: " summary ", after " seconds " s"
    exit failed
}
