"""``noa-async completion``: print a shell script that completes verbs, options and values.

The script runs this verb for each completion. Click's own scripts do not handle values that
contain a comma (fish) or follow an equals sign (bash); rules have both.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from noa_async.cli.manner import with_manner
from noa_async.cli.sections import VerbCommand

if TYPE_CHECKING:
    from collections.abc import Sequence

    from click.shell_completion import CompletionItem

_BASH = """\
_noa_async_completion() {
    local kind value quoted=
    COMPREPLY=()
    [[ ${COMP_WORDS[COMP_CWORD]} == [\\'\\"]* ]] && quoted=yes
    while IFS=$'\\t' read -r kind value _; do
        case $kind in
            file) compopt -o default ;;
            dir) compopt -o dirnames ;;
            plain|open)
                [[ $kind == open ]] && compopt -o nospace
                [[ $quoted ]] || { printf -v value %q "$value"; value=${value//\\\\,/,}; }
                COMPREPLY+=("$value") ;;
        esac
    done < <(noa-async completion bash --breaks "${quoted:-$COMP_WORDBREAKS}" \\
        --line "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
}
complete -o nosort -F _noa_async_completion noa-async
"""
_ZSH = """\
#compdef noa-async
_noa_async() {
    local line kind value help
    local -a plain told open
    for line in "${(@f)$(noa-async completion zsh \\
            --line "${words[1,CURRENT-1]} $QIPREFIX$PREFIX" 2>/dev/null)}"; do
        IFS=$'\\t' read -r kind value help <<< "$line"
        case $kind in
            file) _files ;;
            dir) _files -/ ;;
            plain) plain+=("$value"); told+=("$value${help:+  -- $help}") ;;
            open) open+=("$value") ;;
        esac
    done
    (( $#plain )) && compadd -l -V noa -d told -a plain
    (( $#open )) && compadd -S '' -V noa-open -a open
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _noa_async "$@"
else
    compdef _noa_async noa-async
fi
"""
_FISH = """\
function __noa_async_completion
    for line in (noa-async completion fish --line (commandline -cp | string collect) 2>/dev/null)
        set -l parts (string split -m 2 \\t -- $line)
        switch $parts[1]
            case file
                __fish_complete_path (commandline -ct)
            case dir
                __fish_complete_directories (commandline -ct)
            case '*'
                printf '%s\\t%s\\n' $parts[2] $parts[3]
        end
    end
end
complete --no-files --command noa-async --arguments '(__noa_async_completion)'
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
_BREAKS = "=:|"
"""Characters in rules at which bash splits words; bash replaces only what follows the last."""


@click.command(cls=VerbCommand)
@click.argument("shell", type=click.Choice(list(SCRIPTS)))
@click.option("--line", hidden=True, help="The command line up to the cursor.")
@click.option(
    "--breaks", hidden=True, default="", help="Characters at which the shell splits words."
)
@with_manner
def command(shell: str, line: str | None, breaks: str) -> int:
    """Print a shell completion script for noa-async. Install it like this:

    \b
      bash   echo 'eval "$(noa-async completion bash)"' >> ~/.bashrc
      zsh    echo 'eval "$(noa-async completion zsh)"' >> ~/.zshrc   (after compinit)
      fish   noa-async completion fish > ~/.config/fish/completions/noa-async.fish
    """
    if line is None:
        sys.stdout.write(SCRIPTS[shell])
        return 0
    *before, word = _split(line)
    for item in answers(before, word):
        print(_row(item, _cut(word, breaks)))
    return 0


def answers(before: Sequence[str], word: str) -> list[CompletionItem[str]]:
    """Return the completions of ``word`` after the words ``before``; none if those are invalid."""
    from click.shell_completion import ShellComplete  # noqa: PLC0415 (for this verb alone)

    from noa_async.cli.program import program  # noqa: PLC0415 (it imports the verbs)

    completer = ShellComplete(program, {}, "noa-async", "")
    try:
        return completer.get_completions(list(before), word)
    except click.ClickException:
        return []


def _split(line: str) -> list[str]:
    """Split a command line into the words after the program name; the last may be incomplete.

    >>> _split("x=1 noa-async search --rule 'platform=S"), _split("noa-async search ")
    (['search', '--rule', 'platform=S'], ['search', ''])
    """
    from click.shell_completion import split_arg_string  # noqa: PLC0415 (for this verb alone)

    words = split_arg_string(line)
    names = [place for place, word in enumerate(words) if word.rpartition("/")[2] == "noa-async"]
    words = words[names[0] + 1 if names else 1 :]
    return words if words and not line[-1:].isspace() else [*words, ""]


def _cut(word: str, breaks: str) -> int:
    """Return the length of the part of a word that the shell treats as preceding words.

    >>> _cut("platform=SENTINEL-2,orbit=A", "=:"), _cut("platform=S", "")
    (26, 0)
    """
    return 1 + max((word.rfind(sign) for sign in _BREAKS if sign in breaks), default=-1)


def _row(item: CompletionItem[str], cut: int) -> str:
    kind = "open" if item.type == "plain" and item.value.endswith("=") else item.type
    text = " ".join((item.help or "").split())
    return f"{kind}\t{item.value[cut:]}\t{text}"
