"""`csirt completion SHELL`: the script a shell sources, and what it asks for on a key.

The scripts are ours: words are taken from the line as typed (bash splits `member:m0` at the colon), values show what
they mean (a case's title), and whatever goes wrong is silence.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from csirt.cli.command import command
from csirt.cli.common import write

BASH = r"""# bash completion for csirt:  csirt completion bash > ~/.local/share/bash-completion/completions/csirt
_csirt_completion() {
    local IFS=$'\n' value meaning current="${COMP_LINE:0:COMP_POINT}" word cut=""
    COMPREPLY=()
    word="${current##*[[:space:]]}"
    # Readline replaces only what follows the last colon, when the colon separates words.
    [[ "$word" == *:* && "$COMP_WORDBREAKS" == *:* ]] && cut="${word%"${word##*:}"}"
    while IFS=$'\t' read -r value meaning; do
        [[ -z "$value" ]] && continue
        if [[ "$value" == "@files" ]]; then
            compopt -o default 2>/dev/null
            continue
        fi
        value="${value#"$cut"}"
        # Listed (key pressed twice), values say what they mean.
        [[ "${COMP_TYPE:-9}" == 63 && -n "$meaning" ]] && value="$value  ($meaning)"
        COMPREPLY+=("$value")
    done < <(_CSIRT_COMPLETE=bash _CSIRT_LINE="$current" "${COMP_WORDS[0]}" 2>/dev/null)
    # One left: never insert its meaning. Otherwise a space follows only a whole word.
    [[ ${#COMPREPLY[@]} -eq 1 ]] && COMPREPLY[0]="${COMPREPLY[0]%%  (*}"
    [[ ${#COMPREPLY[@]} -eq 1 && "${COMPREPLY[0]}" == *[:=\<] ]] && compopt -o nospace 2>/dev/null
    return 0
}
complete -F _csirt_completion csirt"""
ZSH = r"""#compdef csirt
# zsh completion for csirt:  csirt completion zsh > "${fpath[1]}/_csirt"
_csirt() {
    local line value meaning
    local -a found
    for line in "${(@f)$(_CSIRT_COMPLETE=zsh _CSIRT_LINE="${(j: :)words[1,CURRENT]}" ${words[1]} 2>/dev/null)}"; do
        value="${line%%$'\t'*}"
        meaning="${line#*$'\t'}"
        if [[ "$value" == "@files" ]]; then
            _files
        elif [[ -n "$value" ]]; then
            found+=("${value//:/\\:}${meaning:+:$meaning}")
        fi
    done
    (( ${#found} )) && _describe -V csirt found
}
if [[ "${zsh_eval_context[-1]}" == loadautofunc ]]; then
    _csirt "$@"
else
    compdef _csirt csirt
fi"""
FISH = r"""# fish completion for csirt:  csirt completion fish > ~/.config/fish/completions/csirt.fish
function _csirt_completion
    set -l answer (_CSIRT_COMPLETE=fish _CSIRT_LINE=(commandline -cp | string collect) csirt 2>/dev/null)
    for line in $answer
        if string match -q '@files*' -- $line
            __fish_complete_path (commandline -ct)
        else
            echo $line
        end
    end
end
complete --no-files --command csirt --arguments '(_csirt_completion)'"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


@command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell: verbs, options, and live case ids, members, rules, runs.

    \b
    Examples:
      csirt completion bash > ~/.local/share/bash-completion/completions/csirt
      csirt completion fish > ~/.config/fish/completions/csirt.fish
    """
    write(SCRIPTS[shell])


def answer(root: click.Command) -> int:
    """Print `value TAB meaning` lines for the words of `_CSIRT_LINE`; nothing when anything is wrong."""
    try:
        lines = offers(root, os.environ.get("_CSIRT_LINE", ""))
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
    except Exception:
        return 0
    return 0


def offers(root: click.Command, line: str) -> list[str]:
    """What may stand at the end of a line, each with what it means; `@files` for names of files."""
    from click.shell_completion import ShellComplete, split_arg_string

    from csirt.cli import COMPLETE
    from csirt.safety import terminal

    words = split_arg_string(line)[1:]
    incomplete = "" if not line or line[-1].isspace() else (words.pop() if words else "")
    found: list[Any] = ShellComplete(root, {}, "csirt", COMPLETE).get_completions(words, incomplete)
    result = []
    for item in found:
        if item.type in ("file", "dir"):
            result.append("@files\t")
        else:
            result.append(f"{terminal(item.value)}\t{terminal(item.help or '')}")
    return result
