/** Makes a queue for each session: works of one session run one after the other. */
export function queuePerSession(): <T>(session: object, work: () => Promise<T>) => Promise<T> {
  const last = new WeakMap<object, Promise<unknown>>();
  return (session, work) => {
    const turn = (last.get(session) ?? Promise.resolve()).then(work);
    last.set(
      session,
      turn.catch(() => {}),
    );
    return turn;
  };
}
