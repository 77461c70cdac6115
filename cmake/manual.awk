# SPDX-License-Identifier: Apache-2.0
# manual.awk - a command's help, its manual page and its bash completion from one text.
#
#   awk -v make=c|man|completion -v command=NAME [-v prefix=SYMBOL] [-v version=V] -f manual.awk TEXT
#
# The text is what --help prints, in topics: a line "# main", then one topic for each subcommand. A
# topic begins with "command - summary". "word:" alone on a line begins a section. In a section a
# line of two spaces and a term, then two spaces or more and its meaning, is an entry; a term may
# have the line to itself; deeper lines go on with the meaning. Sections usage and examples are kept
# as they are. A term "--name a|b" takes one of these words, "--name FILE" and "--name DIR" a path.

function quoted(text) {
    gsub(/\\/, "\\\\", text)
    gsub(/"/, "\\\"", text)
    return "    \"" text "\\n\""
}

# Text as roff: no escape and no request by accident, and a hyphen that stays one.
function roff(text) {
    gsub(/\\/, "\\e", text)
    gsub(/-/, "\\-", text)
    if (text ~ /^[.']/) text = "\\&" text
    return text
}

function end_string() {
    if (topic != "" && make == "c") print ";"
}

function begin_topic(name) {
    end_string()
    topic = name
    section = ""
    first = 1
    waiting = 0
    if (name != "main") subcommands = subcommands " " name
    if (make == "c") print "\nextern const char " prefix name "[];\nconst char " prefix name "[] ="
}

# --- man -----------------------------------------------------------------------------------------

function leave_as_is(want) {
    if (as_is && !want) print ".EE"
    if (!as_is && want) print ".EX"
    as_is = want
}

function man_line(line,    term, meaning, at) {
    if (first) {
        first = 0
        if (topic == "main") {
            print ".TH " toupper(command) " 1 \"\" \"libgqa " version "\" \"User Commands\""
            print ".SH NAME\n" roff(line)
        } else {
            sub(/ - /, ": ", line)
            leave_as_is(0)
            print ".SH " toupper(command " " topic)
            sub(/^[^:]*: /, "", line)
            print toupper(substr(line, 1, 1)) roff(substr(line, 2)) "."
        }
        return
    }
    if (line ~ /^[a-z ]+:$/) {
        leave_as_is(0)
        section = substr(line, 1, length(line) - 1)
        if (topic != "main") print ".SS " toupper(substr(section, 1, 1)) substr(section, 2)
        else print ".SH " (section == "usage" ? "SYNOPSIS" : toupper(section))
        return
    }
    if (line == "") return
    if (line !~ /^ /) {
        leave_as_is(0)
        if (blank) {
            if (section == "usage" && topic == "main") print ".SH DESCRIPTION"
            else print ".PP"
            section = ""
        }
        print roff(line)
        return
    }
    if (section == "usage" || section == "examples") {
        leave_as_is(1)
        print roff(substr(line, 3))
        return
    }
    if (line ~ /^  [^ ]/) {
        term = substr(line, 3)
        meaning = ""
        if ((at = match(term, /  +/)) > 0) {
            meaning = substr(term, at + RLENGTH)
            term = substr(term, 1, at - 1)
        }
        print ".TP\n.B " roff(term)
        if (meaning != "") print roff(meaning)
        return
    }
    sub(/^ +/, "", line)
    print roff(line)
}

# --- completion ----------------------------------------------------------------------------------

function completion_line(line,    word, n) {
    if (line !~ /^  --/) return
    n = split(substr(line, 3), word, " ")
    options[topic] = options[topic] " " word[1]
    if (line ~ /^  --[a-z-]+ [^ ]/) {
        if (word[2] ~ /\|/) {
            gsub(/\|/, " ", word[2])
            values[word[1]] = word[2]
        } else if (word[2] ~ /^(FILE|DIR)$/) {
            values[word[1]] = word[2]
        } else if (!(word[1] in values)) {
            values[word[1]] = ""
        }
    }
}

function completion_end(    i, n, name, names, function_name) {
    function_name = "_" command
    gsub(/-/, "_", function_name)
    print "# bash completion for " command
    print function_name "()\n{"
    print "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} words=\"\""
    print "    COMPREPLY=()"
    print "    case $before in"
    n = 0
    for (name in values) names[++n] = name
    for (i = 2; i <= n; i++) # awk keeps no order
        for (at = i; at > 1 && names[at] < names[at - 1]; at--) {
            name = names[at]; names[at] = names[at - 1]; names[at - 1] = name
        }
    for (i = 1; i <= n; i++) {
        name = values[names[i]]
        if (name == "FILE") name = "mapfile -t COMPREPLY < <(compgen -f -- \"$word\")"
        else if (name == "DIR") name = "mapfile -t COMPREPLY < <(compgen -d -- \"$word\")"
        else if (name != "") name = "mapfile -t COMPREPLY < <(compgen -W \"" name "\" -- \"$word\")"
        print "    " names[i] ")"
        if (name != "") print "        " name
        print "        return\n        ;;"
    }
    print "    esac"
    if (subcommands == "") {
        print "    words=\"" substr(options["main"], 2) "\""
    } else {
        print "    case $COMP_CWORD-${COMP_WORDS[1]} in"
        print "    1-*) words=\"" substr(subcommands, 2) " --help --version\" ;;"
        n = split(substr(subcommands, 2), names, " ")
        for (i = 1; i <= n; i++)
            print "    *-" names[i] ") words=\"" substr(options[names[i]], 2) " --help\" ;;"
        print "    esac"
        print "    if ((COMP_CWORD > 1)) && [[ $word != -* ]]; then"
        print "        return # a file"
        print "    fi"
    }
    print "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")"
    print "}\ncomplete -o default -F " function_name " " command
}

# --- lines ---------------------------------------------------------------------------------------

BEGIN {
    if (make == "c") print "/* Generated by manual.awk from manual.txt. */"
    if (make == "man") print ".\\\" Generated by manual.awk from manual.txt."
}

/^# [a-z]+$/ {
    begin_topic($2)
    next
}

# An empty line waits for what follows, so that none ends a topic.
/^$/ {
    waiting = 1
    next
}

{
    if (waiting && !first) {
        if (make == "c") print "    \"\\n\""
        blank = 1
    }
    if (make == "c") {
        print quoted($0)
        first = 0
    } else if (make == "man") man_line($0)
    else completion_line($0)
    waiting = 0
    blank = 0
}

END {
    end_string()
    if (make == "man") leave_as_is(0)
    if (make == "completion") completion_end()
}
