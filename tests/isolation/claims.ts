const ANOTHER = "3f1d9a52-9c3e-4d5b-8a77-5e6f10b2c4d1";

/** Claims as text that open the organization they name, by what is special about them. */
export function openingClaims(organization: string): Record<string, string> {
  const json = (claims: object) => JSON.stringify(claims);
  return {
    organization_id: json({ organization_id: organization }),
    "app_metadata alone": json({ app_metadata: { organization_id: organization } }),
    "organization_id beside another in app_metadata": json({
      organization_id: organization,
      app_metadata: { organization_id: ANOTHER },
    }),
    "app_metadata beside another in user_metadata": json({
      user_metadata: { organization_id: ANOTHER },
      app_metadata: { organization_id: organization },
    }),
    "upper case": json({ organization_id: organization.toUpperCase() }),
    "a forged role": json({ organization_id: organization, role: "service_role" }),
    "the later of two": `{"organization_id": "${ANOTHER}", "organization_id": "${organization}"}`,
    "white space": `\n{ "organization_id"\t:\n "${organization}" }\n`,
  };
}

/**
 * Claims as text that open nothing, although the organization stands in many of them, by what is wrong
 * with them. `undefined`: never set.
 */
export function powerlessClaims(organization: string): Record<string, string | undefined> {
  const json = (claims: unknown) => JSON.stringify(claims);
  const good = { organization_id: organization };
  return {
    "never set": undefined,
    empty: "",
    "an empty object": "{}",
    null: "null",
    "a number": "7",
    true: "true",
    "a string": json(organization),
    "an array": json([organization]),
    "an array of claims": json([good]),
    "a forged role": json({ role: "service_role" }),
    "a forged role in app_metadata": json({ app_metadata: { role: "service_role" } }),
    "organization_id null": json({ organization_id: null }),
    "organization_id a number": json({ organization_id: 0 }),
    "organization_id true": json({ organization_id: true }),
    "organization_id empty": json({ organization_id: "" }),
    "organization_id an array": json({ organization_id: [organization] }),
    "organization_id nested": json({ organization_id: good }),
    "organization_id not a uuid": json({ organization_id: "north" }),
    "organization_id SQL": json({ organization_id: `${organization}' or true --` }),
    "organization_id a pattern": json({ organization_id: "%" }),
    "organization_id without hyphens": json({ organization_id: organization.replaceAll("-", "") }),
    "organization_id in braces": json({ organization_id: `{${organization}}` }),
    "organization_id after a space": json({ organization_id: ` ${organization}` }),
    "organization_id before a line end": json({ organization_id: `${organization}\n` }),
    "organization_id after a line end": json({ organization_id: `x"\n"${organization}` }),
    "organization_id too short": json({ organization_id: organization.slice(0, -1) }),
    "organization_id too long": json({ organization_id: `${organization}0` }),
    "another spelling": json({ organizationId: organization, Organization_Id: organization }),
    "a path as a key": json({ "app_metadata.organization_id": organization }),
    user_metadata: json({ user_metadata: good }),
    "user_metadata beside an empty app_metadata": json({ user_metadata: good, app_metadata: {} }),
    "app_metadata a string": json({ app_metadata: json(good) }),
    "app_metadata an array": json({ app_metadata: [good] }),
    "app_metadata nested": json({ app_metadata: { app_metadata: good } }),
    "app_metadata not a uuid": json({ app_metadata: { organization_id: "north" } }),
    "app_metadata an array of one": json({ app_metadata: { organization_id: [organization] } }),
    "organization_id null beside a good app_metadata": json({
      organization_id: null,
      app_metadata: good,
    }),
    "organization_id malformed beside a good app_metadata": json({
      organization_id: "north",
      app_metadata: good,
    }),
    "organization_id an array beside a good app_metadata": json({
      organization_id: [],
      app_metadata: good,
    }),
    "an organization without rows": json({ organization_id: ANOTHER }),
    "the zero uuid": json({ organization_id: "00000000-0000-0000-0000-000000000000" }),
  };
}

/** Texts that are no JSON: they may raise an error and open nothing. */
export const notJson = (organization: string): Record<string, string> => ({
  "a word": "north",
  "a bare uuid": organization,
  "half an object": `{"organization_id": "${organization}"`,
  "an object and more": `{"organization_id": "${organization}"} or true`,
  "single quotes": `{'organization_id': '${organization}'}`,
  "a space": " ",
});
