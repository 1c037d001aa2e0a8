/**
 * An object that is built when a property of it is first read, and from then on inherits all from what was
 * built: methods run with it as `this`, as what a registry or a JSON Schema knows it by. No proxy is left
 * between, so that reading is as fast as before.
 */
export function lazy<T extends object>(build: () => T): T {
  const built = () => {
    const whole = build();
    Object.setPrototypeOf(later, whole);
    return whole;
  };
  const unbuilt: ProxyHandler<object> = {
    get: (_, key, receiver): unknown => Reflect.get(built(), key, receiver),
    has: (_, key) => Reflect.has(built(), key),
  };
  const later: T = Object.create(new Proxy({}, unbuilt));
  return later;
}
