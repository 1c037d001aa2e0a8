/** How the process ends. 64 is EX_USAGE of sysexits; 130 is an interrupt, as shells count it. */
export const EXIT = {
  ok: 0,
  error: 1,
  findings: 2,
  locked: 3,
  usage: 64,
  interrupted: 130,
} as const;
