import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import type { Transaction } from "../src/client/sql.ts";
import { withOrganization, withServiceRole } from "../src/client/tenancy.ts";
import { routeModel } from "../src/fleet/routing.ts";
import { agentRegistry, modelRoutingRules } from "../src/schema/index.ts";
import { newAgent, newRoutingRule } from "../src/testing.ts";
import { ROUTING_OPERATORS } from "../src/values.ts";
import { suite } from "./engine.ts";

type Scalar = string | number;
const SCALARS: readonly Scalar[] = [0, 1.5, "1", "a"];
const VALUES: readonly (Scalar | Scalar[])[] = [
  ...SCALARS,
  [],
  [1.5],
  [0, 2],
  [2, 0],
  [0, "2"],
  ["a", "1"],
  [0, 1, 2],
];

/** What the words mean, once more. */
function holds(operator: string, given: Scalar, wanted: Scalar | Scalar[]): boolean {
  if (Array.isArray(wanted)) {
    const [low, high, ...more] = wanted;
    if (operator === "in") return wanted.includes(given);
    if (operator === "not_in") return !wanted.includes(given);
    if (operator !== "between" || more.length > 0) return false;
    if (typeof low !== "number" || typeof high !== "number") return false;
    return typeof given === "number" && low <= given && given <= high;
  }
  if (operator === "=") return given === wanted;
  if (operator === "!=") return typeof given === typeof wanted && given !== wanted;
  if (typeof given !== "number" || typeof wanted !== "number") return false;
  if (operator === "<") return given < wanted;
  if (operator === "<=") return given <= wanted;
  if (operator === ">") return given > wanted;
  return operator === ">=" && given >= wanted;
}

suite("routing of models", (database) => {
  async function newFleet() {
    const organization = randomUUID();
    const agent = newAgent();
    const act = <T>(work: (tx: Transaction) => Promise<T>) =>
      withOrganization(database.db, organization, work);
    await act((tx) => tx.insert(agentRegistry).values(agent));
    return { agentId: agent.id, act };
  }

  test("each operator says of every pair of values what its words say, and none fails", async () => {
    const { agentId, act } = await newFleet();
    const operators = [...ROUTING_OPERATORS, "like", ""];
    const rules = operators.flatMap((conditionOperator) =>
      VALUES.map((conditionValue) => ({ conditionOperator, conditionValue })),
    );
    // Each rule asks of a word of its own, and names it.
    const words = rules.map((_, n) => `x${n}`);
    await act((tx) =>
      tx
        .insert(modelRoutingRules)
        .values(
          rules.map((rule, n) =>
            newRoutingRule({ agentId, conditionType: `x${n}`, targetModel: `x${n}`, ...rule }),
          ),
        ),
    );
    await act(async (tx) => {
      for (const given of SCALARS) {
        // Whatever applies is taken out of the question, until nothing does.
        const left = new Set(words);
        for (;;) {
          const context = Object.fromEntries(Array.from(left, (word) => [word, given]));
          const route = await routeModel(tx, { agentId, context });
          if (!route) break;
          left.delete(route.targetModel);
        }
        const expected = rules.filter(
          ({ conditionOperator, conditionValue }) =>
            !holds(conditionOperator, given, conditionValue),
        );
        expect(rules.filter((_, n) => left.has(`x${n}`))).toEqual(expected);
      }
    });
  });

  test("the agent's rules come before its organization's, then by priority, then the oldest; inactive ones and others' never", async () => {
    const { agentId, act } = await newFleet();
    const theirs = await newFleet();
    const other = newAgent();
    await act((tx) => tx.insert(agentRegistry).values(other));
    const at = (day: number) => new Date(Date.UTC(2026, 0, day));
    const rule = (targetModel: string, priority: number, day: number, more = {}) =>
      newRoutingRule({
        targetModel,
        priority,
        createdAt: at(day),
        conditionType: "language",
        conditionOperator: "=",
        conditionValue: "de",
        ...more,
      });
    await theirs.act((tx) => tx.insert(modelRoutingRules).values(rule("theirs", 0, 1)));
    await act((tx) =>
      tx
        .insert(modelRoutingRules)
        .values([
          rule("organization", 1, 1),
          rule("inactive", 1, 1, { agentId, isActive: false }),
          rule("another agent's", 1, 1, { agentId: other.id }),
          rule("third", 50, 3, { agentId }),
          rule("second", 50, 2, { agentId, fallbackModel: "spare" }),
          rule("first, in French", 2, 9, { agentId, conditionValue: "fr" }),
        ]),
    );
    const route = (language: string, id = agentId) =>
      act(
        async (tx) =>
          (await routeModel(tx, { agentId: id, context: { language } }))?.targetModel ?? null,
      );
    expect(await route("fr")).toBe("first, in French");
    expect(await route("de")).toBe("second");
    expect(await route("it")).toBeNull();
    const third = newAgent();
    await act((tx) => tx.insert(agentRegistry).values(third));
    expect(await route("de", third.id)).toBe("organization");
    await withServiceRole(database.db, async (tx) => {
      const context = { language: "de" };
      expect(await routeModel(tx, { agentId, context })).toMatchObject({
        targetModel: "second",
        fallbackModel: "spare",
      });
      expect(await routeModel(tx, { agentId: third.id, context })).toMatchObject({
        targetModel: "organization",
        fallbackModel: null,
      });
    });
    for (const id of [theirs.agentId, randomUUID()]) {
      await expect(route("de", id)).rejects.toThrow(
        `routeModel: no agent ${id}, or it is not this caller's`,
      );
    }
  });
});
