//! Completions for bash, fish and zsh. What clap_complete writes of programs with a hyphen in their name, dots in their
//! options and colons in what stands for values is mended. A release of it that writes something else fails here, so that
//! this is looked at again.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use clap::Command;
use clap_complete::{Shell, generate};

pub(crate) fn write(command: &mut Command, folder: &Path) -> io::Result<()> {
    let name = command.get_name().to_owned();
    let mut script = |shell| {
        let mut bytes = Vec::new();
        generate(shell, command, &name, &mut bytes);
        String::from_utf8(bytes).map_err(io::Error::other)
    };
    fs::write(folder.join(format!("{name}.bash")), mend_bash(&script(Shell::Bash)?, &name)?)?;
    fs::write(folder.join(format!("{name}.fish")), mend_fish(&script(Shell::Fish)?, &name)?)?;
    fs::write(folder.join(format!("_{name}")), mend_zsh(&script(Shell::Zsh)?, command)?)
}

/// Branches are named otherwise than what is looked for among them when the program's name has a hyphen:
/// <https://github.com/clap-rs/clap/issues/6421>.
fn mend_bash(script: &str, name: &str) -> io::Result<String> {
    let (branch, looked_for) = (name.replace('-', "__subcmd__"), name.replace('-', "__"));
    replace(script, &format!(" {branch}__subcmd__"), &format!(" {looked_for}__subcmd__"))
}

/// `argparse` takes no dots in options' names, which it is given to find the subcommand: here they are hyphens, in the
/// options that it knows and in the words that it reads.
fn mend_fish(script: &str, name: &str) -> io::Result<String> {
    let start = "    string join \\n ";
    let Some(options) = script.lines().find(|line| line.starts_with(start) && line.contains('.')) else {
        return Err(unexpected(&format!("options for argparse of {name} with dots")));
    };
    let script = replace(script, options, &options.replace('.', "-"))?;
    replace(&script, "optspecs) -- $cmd ", "optspecs) -- (string replace --all . - -- $cmd) ")
}

/// A colon in what stands for a value ends it, and the option takes a second one.
fn mend_zsh(script: &str, command: &Command) -> io::Result<String> {
    let mut with_colons = BTreeSet::new();
    value_names(command, &mut with_colons);
    with_colons.retain(|name| name.contains(':'));
    with_colons.iter().try_fold(script.to_owned(), |script, name| {
        replace(&script, &format!(":{name}:"), &format!(":{}:", name.replace(':', "\\:")))
    })
}

fn value_names(command: &Command, found: &mut BTreeSet<String>) {
    for argument in command.get_arguments() {
        found.extend(argument.get_value_names().unwrap_or_default().iter().map(ToString::to_string));
    }
    command.get_subcommands().for_each(|below| value_names(below, found));
}

/// Replaces what has to be there.
fn replace(script: &str, from: &str, to: &str) -> io::Result<String> {
    if script.contains(from) { Ok(script.replace(from, to)) } else { Err(unexpected(from)) }
}

fn unexpected(what: &str) -> io::Error {
    io::Error::other(format!(
        "a completion script has no {what:?}: this release of clap_complete may need no mending, see packaging/manual/src/completions.rs"
    ))
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    #[test]
    fn what_needs_no_mending_is_noticed() {
        let bash = "        a-b,run)\n        a__subcmd__b__subcmd__run)\n";
        let mended = mend_bash(bash, "a-b").expect("it needs it");
        assert_eq!(mended, "        a-b,run)\n        a__b__subcmd__run)\n");
        let error = mend_bash(&mended, "a-b").expect_err("it needs none").to_string();
        assert!(error.contains("this release of clap_complete may need no mending"), "{error}");

        let fish = "    string join \\n a.b= h/help\n    argparse -s (optspecs) -- $cmd 2>/dev/null\n";
        let mended = mend_fish(fish, "a-b").expect("it needs it");
        assert!(
            mended.contains(" a-b= ") && mended.contains("(string replace --all . - -- $cmd)"),
            "{mended}"
        );
        mend_fish(&mended, "a-b").expect_err("it needs none");

        let command = Command::new("a-b").arg(Arg::new("at").long("at").value_name("HOST:PORT"));
        let mended = mend_zsh("'--at=[Where]:HOST:PORT:_default'", &command).expect("it needs it");
        assert_eq!(mended, "'--at=[Where]:HOST\\:PORT:_default'");
        mend_zsh(&mended, &command).expect_err("it needs none");
    }
}
