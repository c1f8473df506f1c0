/** Turns functions that a page should call into text, for the protocols that cannot pass functions with arguments. */

/** An expression whose value is a promise of the result of `fn` as JSON; the promise rejects if `fn` throws. */
export function callText(fn: (argument: never) => unknown, argument: unknown): string {
  return `(async () => JSON.stringify(await (${fn.toString()})(${literal(argument)})))()`
}

/** An expression whose value is a promise that resolves when `fn` returns a truthy value. It calls `fn` every 20 ms. */
export function untilText(fn: (argument: never) => unknown, argument: unknown): string {
  return `(async () => {
    const fn = ${fn.toString()}
    while (!(await fn(${literal(argument)}))) await new Promise((resolve) => setTimeout(resolve, 20))
  })()`
}

/** Parses the text to which an expression of {@link callText} evaluates. */
export function parseResult(text: unknown): unknown {
  return typeof text === 'string' ? JSON.parse(text) : undefined
}

function literal(value: unknown): string {
  return value === undefined ? 'undefined' : JSON.stringify(value)
}
