import { types } from "node:util";
import { describe, expect, expectTypeOf, test, vi } from "vitest";
import * as z from "zod";
import { TABLES } from "../../src/schema/all.ts";
import { agentDependencies, agentRegistry } from "../../src/schema/index.ts";
import { newAgent } from "../../src/testing.ts";
import { validators } from "../../src/validation/validators.ts";

/** Asks nothing of the validator itself, which would build it. */
const isUnbuilt = (value: unknown) => types.isProxy(Object.getPrototypeOf(value));

test("importing the validators builds none, reading a property of one builds that one", async () => {
  // As nobody has imported it before.
  vi.resetModules();
  const imported = await import("../../src/zod.ts");
  const unbuilt = () =>
    Object.entries(imported)
      .filter(([, value]) => typeof value === "object" && isUnbuilt(value))
      .map(([name]) => name);
  const before = unbuilt();
  expect(before).toHaveLength(3 * TABLES.length);
  expect(imported.insertAgentSchema.shape.agentName.safeParse("").success).toBe(false);
  expect(before.filter((name) => !unbuilt().includes(name))).toEqual(["insertAgentSchema"]);
});

describe("a validator that was built late is as one that was there from the start:", () => {
  const fresh = () => validators(agentRegistry).insert;
  const agent = newAgent();

  test("it parses, and refuses in words", () => {
    expect(fresh().parse(agent)).toEqual(agent);
    expect(fresh().safeParse(agent)).toEqual({ success: true, data: agent });
    expect(fresh().safeParse({}).error?.issues[0]?.path).toEqual(["agentName"]);
  });

  test.each([z.ZodObject, z.ZodType, z.core.$ZodObject])("it is an instance", (type) => {
    expect(fresh()).toBeInstanceOf(type);
  });

  test("its methods may be detached", () => {
    // oxlint-disable-next-line typescript/unbound-method -- zod binds them
    const { safeParse, optional } = fresh();
    expect(safeParse(agent).success).toBe(true);
    expect(optional().safeParse(undefined).success).toBe(true);
  });

  test("it is extended and stripped", () => {
    const extended = fresh().extend({ shoeSize: z.number() });
    expect(extended.safeParse({ ...agent, shoeSize: 44 }).success).toBe(true);
    expect(extended.safeParse(agent).success).toBe(false);
    expect(
      fresh()
        .strip()
        .parse({ ...agent, shoeSize: 44 }),
    ).toEqual(agent);
    expectTypeOf<z.output<typeof extended>>().toHaveProperty("shoeSize").toBeNumber();
  });

  test("it stands within objects, lists, unions and behind optional", () => {
    expect(z.object({ agent: fresh() }).parse({ agent })).toEqual({ agent });
    expect(z.array(fresh()).parse([agent])).toEqual([agent]);
    expect(z.union([z.string(), fresh()]).parse(agent)).toEqual(agent);
    const nested = z.object({ agents: z.array(fresh().optional()) }).safeParse({ agents: [{}] });
    expect(nested.error?.issues[0]?.path).toEqual(["agents", 0, "agentName"]);
  });

  test("it becomes JSON Schema, alone and within another", () => {
    const described = (schema: z.ZodType) =>
      z.toJSONSchema(schema, { io: "input", unrepresentable: "any" });
    const { properties, required } = described(fresh());
    expect(Object.keys(properties ?? {})).toEqual(Object.keys(fresh().shape));
    expect(required).toEqual(["agentName", "displayName", "category"]);
    expect(described(z.object({ agent: fresh() })).properties).toMatchObject({
      agent: { type: "object", properties, required },
    });
  });

  test("a registry knows it by what the caller holds", () => {
    const registry = z.registry<{ title: string }>();
    const schema = fresh();
    schema.register(registry, { title: "Agent" });
    expect(registry.get(schema)).toEqual({ title: "Agent" });
    expect(z.toJSONSchema(schema, { metadata: registry, unrepresentable: "any" })).toMatchObject({
      title: "Agent",
    });
  });

  test("its rules between columns hold", () => {
    const { error } = validators(agentDependencies).insert.safeParse({
      upstreamAgentId: agent.id,
      downstreamAgentId: agent.id,
      dependencyType: "data",
    });
    expect(error?.issues).toMatchObject([{ path: ["upstreamAgentId"] }]);
  });

  test("`in` sees its members, too", () => {
    expect("~standard" in fresh()).toBe(true);
  });
});
