import * as z from "zod";

/** What a message says at most: an unknown key may be as long as a payload. */
const MESSAGE_LENGTH = 2000;

/**
 * A `ZodError` as a program can throw it. `new z.ZodError()` is no `Error` in zod 4, and what zod makes
 * has no stack until one of its own `parse` throws it; its message is JSON, this one is for people.
 */
export function refused(issues: z.core.$ZodIssue[]): z.ZodError {
  const error = new z.ZodRealError(issues);
  const message = z.prettifyError(error);
  error.message =
    message.length > MESSAGE_LENGTH ? `${message.slice(0, MESSAGE_LENGTH)}… (cut)` : message;
  // After the message, with which a stack begins.
  Error.captureStackTrace(error, refused);
  return error;
}

/**
 * What a validator makes of a value.
 * @throws {z.ZodError} when it refuses the value
 */
export function parsed<T>(validator: z.ZodType<T>, value: unknown): T {
  const { data, error } = validator.safeParse(value);
  if (error) throw refused(error.issues);
  return data;
}
