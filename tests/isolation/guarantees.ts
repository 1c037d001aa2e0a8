import type { Guarantee } from "./attack.ts";
import { callerGuarantees } from "./callers.ts";
import { copyGuarantees } from "./copy.ts";
import { helperGuarantees } from "./helpers.ts";
import { leaks } from "./leaks.ts";
import { lints } from "./lints.ts";
import { privilegeGuarantees } from "./privileges.ts";
import { queryGuarantees } from "./queries.ts";
import { referenceGuarantees } from "./references.ts";
import { rowGuarantees } from "./rows.ts";
import { writeGuarantees } from "./writes.ts";

export type { Guarantee } from "./attack.ts";

/** All that tenancy promises and what it cannot. The first wants a connection that never had claims. */
export const guarantees: readonly Guarantee[] = [
  ...callerGuarantees,
  ...rowGuarantees,
  ...queryGuarantees,
  ...writeGuarantees,
  ...referenceGuarantees,
  ...copyGuarantees,
  ...helperGuarantees,
  ...privilegeGuarantees,
  ...leaks,
  ...lints,
];
