/** The story of a prompt version, as the command line and the page tell it. */
import type { PromptExplanation } from "../fleet/explain.ts";
import { percent } from "./words.ts";

/** A link of the chain: what it is, and what it says. */
export type Link = readonly [head: string, text: string];

/** `is live, since 2026-01-26 12:00 UTC as its proposal says` */
export function stateOf({ prompt, since }: PromptExplanation): string {
  const state = prompt.isActive ? "is live" : since ? "was live or tried" : "is not live";
  const live = since ? `, since ${day(since.at)} as its ${since.by} says` : "";
  return `${state}${live}`;
}

/** Each link that there is; what is missing says `missing`. */
export function linksOf(told: PromptExplanation): Link[] {
  const { prompt, parent, proposal, approval, report } = told;
  const links: (Link | false)[] = [
    ["made", sentence([day(prompt.createdAt), by(prompt.createdBy), quoted(prompt.changeReason)])],
    parent !== null && ["from", `version ${parent.version}`],
    prompt.isBaseline && ["baseline", "others are measured against it"],
    proposal !== null && [
      "proposal",
      sentence([
        quoted(proposal.title),
        (proposal.status !== "deployed" || !proposal.deployedAt) &&
          proposal.status.replace("_", " "),
        proposal.deployedAt && `deployed ${day(proposal.deployedAt)}`,
      ]),
    ],
    approval !== null && [
      "approved",
      sentence([
        approval.by === prompt.createdBy ? `by its maker, ${approval.by}` : by(approval.by),
        approval.at && day(approval.at),
      ]),
    ],
    report !== null && [
      "report",
      sentence([
        `of ${report.reportDate}`,
        report.overallScore !== null && `score ${report.overallScore}`,
      ]),
    ],
    ...told.shadowTests.map(
      (test) =>
        [
          "shadow test",
          sentence([
            day(test.startDate),
            `as ${test.role}`,
            test.status,
            quoted(test.recommendation),
          ]),
        ] as const,
    ),
    ...told.abTests.map(
      (test) =>
        [
          "A/B test",
          sentence([
            quoted(test.testName),
            `as ${test.role}`,
            test.status,
            test.winner === null ? "no winner" : `winner: ${test.winner}`,
            `${test.executions} executions`,
            test.significance !== null && sure(test.significance),
          ]),
        ] as const,
    ),
    ...told.canaries.map(
      (canary) =>
        [
          "canary",
          sentence([
            canary.startedAt && day(canary.startedAt),
            `as ${canary.role}`,
            `${canary.status.replace("_", " ")} at stage ${canary.stage}${canary.completedAt ? ` on ${day(canary.completedAt)}` : ""}`,
            quoted(canary.rollbackReason),
          ]),
        ] as const,
    ),
    ...told.components.map(({ name, category }) => ["uses", `${name} (${category})`] as const),
  ];
  return links.filter((link) => link !== false);
}

/** How sure a test is, wherever it is said: its `statistical_significance`, a ratio. */
export const sure = (significance: number): string =>
  `${percent(significance)} sure that they differ`;

const day = (instant: Date) => instant.toISOString().replace("T", " ").slice(0, 16).concat(" UTC");
const by = (name: string | null) => name !== null && `by ${name}`;
const quoted = (text: string | null) => text !== null && `“${text}”`;
const sentence = (parts: readonly (string | false | null)[]) => parts.filter(Boolean).join(", ");
