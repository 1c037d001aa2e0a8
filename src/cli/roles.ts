import { LOGINS, createLogins, loginStatements } from "../operate/logins.ts";
import { type TargetOptions, targetCommand, withTarget } from "./command.ts";
import { askPassword } from "./password.ts";
import { print } from "./print.ts";

export const rolesCommand = targetCommand("roles", {
  description:
    "Prints the statements that make the two logins of a deployment, one for the application and one for backend jobs, or makes them with --apply. Passwords come from META_AGENT_APP_PASSWORD and META_AGENT_BACKEND_PASSWORD, or from a prompt.",
  examples: ["meta-agent-db roles --apply --url postgres://admin@host/app"],
})
  .option("--apply", "make them, or set the passwords of those that exist")
  .action(async ({ apply, ...target }: TargetOptions & { apply?: true }) => {
    if (!apply) {
      print(loginStatements().join("\n"));
      return;
    }
    const passwords = {
      application: await askPassword("META_AGENT_APP_PASSWORD", LOGINS.application.name),
      backend: await askPassword("META_AGENT_BACKEND_PASSWORD", LOGINS.backend.name),
    };
    await withTarget(target, async ({ db }) => {
      await createLogins(db, passwords);
      for (const { name, memberOf } of Object.values(LOGINS)) {
        print(`${name}: member of ${memberOf.join(", ")}`);
      }
    });
  });
