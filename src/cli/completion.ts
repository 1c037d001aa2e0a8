import { Argument, type Command } from "commander";
import { command } from "./command.ts";

export const completionCommand = command("completion", {
  description:
    "Prints what completes commands and options in a shell, with what each does where the shell shows it.",
  examples: [
    "meta-agent-db completion bash >> ~/.bashrc",
    "meta-agent-db completion zsh > ~/.zfunc/_meta-agent-db    with ~/.zfunc in fpath",
    "meta-agent-db completion fish > ~/.config/fish/completions/meta-agent-db.fish",
  ],
})
  .addArgument(new Argument("<shell>", "which one").choices(["bash", "zsh", "fish"]))
  .action((shell: keyof typeof SCRIPTS, _: object, { parent }: Command) => {
    if (parent) process.stdout.write(`${SCRIPTS[shell](wordsOf(parent)).join("\n")}\n`);
  });

/** A word to type, and what it means. */
interface Word {
  readonly word: string;
  readonly means: string;
}

interface CommandWord extends Word {
  readonly options: readonly Word[];
  /** What its arguments may be, where that is a choice. */
  readonly choices: readonly string[];
}

/** Every command that the help names, with its options. */
const wordsOf = (program: Command): CommandWord[] =>
  program
    .createHelp()
    .visibleCommands(program)
    .map((subcommand) => ({
      word: subcommand.name(),
      means: subcommand.summary() || subcommand.description(),
      options: subcommand
        .createHelp()
        .visibleOptions(subcommand)
        .flatMap(({ long, description }) => (long ? [{ word: long, means: description }] : [])),
      choices: subcommand.registeredArguments.flatMap(({ argChoices = [] }) => argChoices),
    }));

const names = (words: readonly Word[]) => words.map(({ word }) => word).join(" ");

const SCRIPTS = {
  bash: (commands: readonly CommandWord[]) => [
    "_meta_agent_db() {",
    "  local words",
    '  case "${COMP_WORDS[1]}" in',
    ...commands.map(
      ({ word, choices, options }) =>
        `    ${word}) words="${[...choices, names(options)].join(" ")}" ;;`,
    ),
    "  esac",
    `  [ "$COMP_CWORD" -eq 1 ] && words="${names(commands)}"`,
    '  COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))',
    "}",
    "complete -o default -F _meta_agent_db meta-agent-db",
  ],
  zsh: (commands: readonly CommandWord[]) => {
    const list = (words: readonly Word[]) =>
      words.map(({ word, means }) => quoted(`${word}:${means}`, "'\\''")).join(" ");
    return [
      "#compdef meta-agent-db",
      "_meta_agent_db() {",
      "  local -a found",
      `  if (( CURRENT == 2 )); then found=(${list(commands)})`,
      "  else",
      "    case $words[2] in",
      ...commands.map(
        ({ word, choices, options }) =>
          `      ${word}) found=(${[...choices, list(options)].join(" ")}) ;;`,
      ),
      "    esac",
      "  fi",
      "  _describe meta-agent-db found || _files",
      "}",
      'if [ "$funcstack[1]" = _meta_agent_db ]; then _meta_agent_db; else compdef _meta_agent_db meta-agent-db; fi',
    ];
  },
  fish: (commands: readonly CommandWord[]) =>
    commands.flatMap(({ word, means, choices, options }) => [
      `complete -c meta-agent-db -n __fish_use_subcommand -a ${word} -d ${quoted(means, "\\'")}`,
      ...choices.map(
        (choice) =>
          `complete -c meta-agent-db -n '__fish_seen_subcommand_from ${word}' -a ${choice}`,
      ),
      ...options.map(
        (option) =>
          `complete -c meta-agent-db -n '__fish_seen_subcommand_from ${word}' -l ${option.word.slice(2)} -d ${quoted(option.means, "\\'")}`,
      ),
    ]),
};

/** A text in single quotes, by the shell's way to write one inside. */
const quoted = (text: string, quote: string) => `'${text.replaceAll("'", () => quote)}'`;
