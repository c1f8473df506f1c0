/** Checks whether WebAssembly can be used: the page's Content-Security-Policy or the browser may forbid it. */

import { DeviceError } from '../errors.js'

/** The shortest WebAssembly module: only the signature and the version. */
const emptyModule = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0)

/** @throws DeviceError `runtime-not-loaded` with what the page has to allow */
export async function checkWebAssembly(
  scope: { readonly WebAssembly?: typeof WebAssembly | undefined } = globalThis,
): Promise<void> {
  if (scope.WebAssembly === undefined)
    throw new DeviceError(
      'runtime-not-loaded',
      'The browser has WebAssembly turned off, as in a lockdown mode. Models run only with it: turn it on for this site.',
    )
  try {
    await scope.WebAssembly.compile(emptyModule)
  } catch (cause) {
    throw new DeviceError(
      'runtime-not-loaded',
      "The Content-Security-Policy of the page does not allow WebAssembly, in which models run. Add 'wasm-unsafe-eval' to its script-src.",
      {},
      cause,
    )
  }
}
