/** A promise that is settled from outside, which browsers have as Promise.withResolvers and Node 20 has not. */

const nothing = () => {}

/** A promise and what resolves it. */
export function deferred(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve = nothing
  const promise = new Promise<void>((settle) => {
    resolve = settle
  })
  return { promise, resolve }
}
