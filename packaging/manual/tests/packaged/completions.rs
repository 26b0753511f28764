//! Shells are asked for completions, as a key press asks them: at every subcommand, after every option that may stand before
//! it, they offer its options, its subcommands and the values of its options, and no others.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use clap::{Arg, CommandFactory as _};

use crate::{agent, aggregator, read, run, write};

/// A line as it is typed, and what can follow it.
struct Question {
    line: String,
    answers: BTreeSet<String>,
}

/// Everything that can be asked of a program.
fn questions(mut program: clap::Command) -> Vec<Question> {
    program.build();
    let name = program.get_name();
    let mut starts = vec![name.to_owned()];
    for option in options(&program).filter(|option| option.is_global_set()) {
        let long = option.get_long().unwrap_or_default();
        if option.get_action().takes_values() {
            starts.push(format!("{name} --{long} a.b"));
            starts.push(format!("{name} --{long}=a.b"));
        } else {
            starts.push(format!("{name} --{long}"));
        }
    }
    let mut questions = Vec::new();
    for start in starts {
        ask(&program, &start, &mut questions);
    }
    questions
}

/// What can be asked of a subcommand that the line names, and of those below it.
fn ask(command: &clap::Command, line: &str, questions: &mut Vec<Question>) {
    let longs = options(command).filter_map(Arg::get_long).map(|long| format!("--{long}"));
    questions.push(Question { line: format!("{line} --"), answers: longs.collect() });
    for option in options(command).filter(|option| option.get_action().takes_values()) {
        let values: BTreeSet<_> =
            option.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
        if let (Some(long), false) = (option.get_long(), values.is_empty()) {
            questions.push(Question { line: format!("{line} --{long} "), answers: values });
        }
    }
    if command.has_subcommands() {
        let names = command.get_subcommands().map(|below| below.get_name().to_owned());
        questions.push(Question { line: format!("{line} "), answers: names.collect() });
    }
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        ask(below, &format!("{line} {}", below.get_name()), questions);
    }
}

fn options(command: &clap::Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|argument| argument.get_long().is_some())
}

/// Asks a shell: a script of its own reads the questions, and writes each after `> `, then its answers. The completions are
/// in a folder, in a file of the name that the function makes of the program's.
fn check(shell: &str, script: &str, arguments: &[&str], file: fn(&str) -> String) -> Result<()> {
    if !is_there(shell) {
        return Ok(());
    }
    // zsh does not offer an option again.
    let left_out = if shell == "zsh" { option_before } else { |_: &str| None };
    let written = write(None)?;
    for (program, command) in [("agent", agent::Cli::command()), ("aggregator", aggregator::Cli::command())] {
        let name = command.get_name().to_owned();
        let questions = questions(command);
        ensure!(questions.len() > 100, "only {} questions", questions.len());
        let folder = tempfile::tempdir()?;
        let at = |name: &str| folder.path().join(name);
        let mut lines = String::new();
        for Question { line, .. } in &questions {
            writeln!(lines, "{line}")?;
        }
        fs::write(at("questions"), lines)?;
        fs::write(at("script"), script)?;
        let completions = written.path().join(program).join("completions");
        let mut command = Command::new(shell);
        command.args(arguments).arg(at("script")).stdin(Stdio::null()).env("TERM", "dumb");
        command.env("HOME", folder.path()).env("XDG_CONFIG_HOME", folder.path());
        command.env("COMPLETIONS", &completions).env("PROGRAM", &name);
        command.env("SCRIPT", completions.join(file(&name)));
        run(command.env("QUESTIONS", at("questions")).env("ANSWERS", at("answers")))?;
        compare(&questions, &at("answers"), left_out).with_context(|| format!("{shell}, {name}"))?;
    }
    Ok(())
}

/// `left_out` are options that the shell does not offer for a line.
fn compare(questions: &[Question], answers: &Path, left_out: fn(&str) -> Option<String>) -> Result<()> {
    let text = read(answers)?;
    let mut given = text.split("> ").skip(1);
    for Question { line, answers } in questions {
        let (asked, found) = given.next().and_then(|part| part.split_once('\n')).context("no answer")?;
        ensure!(asked == line, "asked {line:?}, answered {asked:?}");
        // Where a subcommand can stand, bash offers options as well.
        let found: BTreeSet<_> = found
            .lines()
            .map(|line| line.split('\t').next().unwrap_or_default())
            .filter(|word| !word.is_empty() && (line.ends_with('-') || !word.starts_with('-')))
            .map(str::to_owned)
            .chain(left_out(line))
            .collect();
        ensure!(found == *answers, "{line:?} offers {found:?}, not {answers:?}");
    }
    ensure!(given.next().is_none(), "more answers than questions");
    Ok(())
}

/// The option that stands before a question about options.
fn option_before(line: &str) -> Option<String> {
    let mut words = line.strip_suffix(" --")?.split(' ').filter(|word| word.starts_with("--"));
    Some(words.next()?.split('=').next()?.to_owned())
}

/// Whether there is such a shell; in CI there is.
fn is_there(shell: &str) -> bool {
    let found = Command::new(shell).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(!in_ci, "in CI nothing is skipped: {shell} is missing");
        println!("skipped: {shell} is missing (tests/run.sh installs it)");
    }
    found
}

#[test]
fn bash_completes() -> Result<()> {
    // readline takes `=` for a word of its own.
    let script = r#"
        set -u
        source "$SCRIPT"
        [[ $(complete -p "$PROGRAM") =~ -F\ ([^ ]+) ]]
        function=${BASH_REMATCH[1]}
        while IFS= read -r line; do
            printf '> %s\n' "$line"
            read -ra COMP_WORDS <<<"${line//=/ = }"
            [[ $line != *' ' ]] || COMP_WORDS+=('')
            COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            COMPREPLY=()
            "$function" "$PROGRAM" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
            printf '%s\n' "${COMPREPLY[@]}"
        done <"$QUESTIONS" >"$ANSWERS"
    "#;
    check("bash", script, &["--norc"], |name| format!("{name}.bash"))
}

#[test]
fn fish_completes() -> Result<()> {
    let script = r#"
        source $SCRIPT
        while read --local line
            echo "> $line"
            complete --do-complete $line
        end <$QUESTIONS >$ANSWERS
    "#;
    check("fish", script, &["--no-config"], |name| format!("{name}.fish"))
}

#[test]
fn zsh_completes() -> Result<()> {
    // An interactive zsh on a terminal of its own, which does all there is to do before its first line is edited. What it
    // would show, its `compadd` writes down.
    let script = r#"
        if [[ ! -o interactive ]]; then
            zmodload zsh/zpty
            zpty inner zsh -f -i
            zpty -w inner "source $0"
            while zpty -r inner shown; do :; done
            exit
        fi
        fpath=($COMPLETIONS $fpath)
        autoload -U compinit
        compinit -u -D
        compadd() {
            if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then
                builtin compadd "$@"
                return
            fi
            local -a found
            builtin compadd -A found "$@"
            (( ! $#found )) || print -rl -- "$found[@]" >&3
            builtin compadd "$@"
        }
        answer() {
            _main_complete
            compstate[insert]= compstate[list]=
        }
        zle -C answer complete-word answer
        zle-line-init() {
            local line
            exec 3>$ANSWERS
            for line in "${(@f)$(<$QUESTIONS)}"; do
                print -r -- "> $line" >&3
                BUFFER=$line CURSOR=$#BUFFER
                zle answer
            done
            exit
        }
        zle -N zle-line-init
    "#;
    check("zsh", script, &["-f"], |name| format!("_{name}"))
}
