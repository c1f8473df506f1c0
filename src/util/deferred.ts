/** A promise that is resolved from outside, like Promise.withResolvers, which Node 20 does not have. */

const nothing = () => {}

/** A promise and the function that resolves it. */
export function deferred(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve = nothing
  const promise = new Promise<void>((settle) => {
    resolve = settle
  })
  return { promise, resolve }
}
