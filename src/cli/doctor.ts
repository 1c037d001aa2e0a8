import { doctor } from "../operate/doctor/doctor.ts";
import type { Diagnosis } from "../operate/doctor/check.ts";
import { type TargetOptions, jsonOption, seconds, targetCommand, withTarget } from "./command.ts";
import { EXIT } from "./exit.ts";
import { finding, gauged, print, printJson } from "./print.ts";

interface DoctorCommandOptions extends TargetOptions {
  readonly deep?: true;
  readonly longTransaction?: number;
  readonly json?: true;
}

export const doctorCommand = targetCommand("doctor", {
  description:
    "Examines the schema, the logins, indexes, statistics, vacuum and open transactions, and says of each finding what to do. It reads only. Ends with 2 when a finding is more than information.",
  examples: [
    "meta-agent-db doctor --url postgres://owner@host/app",
    "meta-agent-db doctor --url postgres://meta_agent_app@host/app   the application's login",
    "meta-agent-db doctor --deep --json",
  ],
})
  .option("--deep", "also read whole tables: references across organizations, full counters")
  .option(
    "--long-transaction <seconds>",
    "from which age on an open transaction is a finding (default: 300)",
    seconds,
  )
  .addOption(jsonOption())
  .action(({ deep, longTransaction, json, ...target }: DoctorCommandOptions) =>
    withTarget(target, async ({ db }) => {
      const found = await gauged("examining", () => doctor(db, { deep, longTransaction }));
      if (json) printJson(found);
      else print(found.length > 0 ? found.map(lines).join("\n") : "healthy");
      if (found.some(({ level }) => level !== "info")) process.exitCode = EXIT.findings;
    }),
  );

const lines = ({ level, check, message, next }: Diagnosis): string =>
  finding(level, check, message, next);
