/**
 * Marks pixels and captured tensors for transfer: the worker hands their memory to the page instead of copying it. Only for buffers that
 * the worker no longer uses. `client/image-input.ts` does the same for a start image, in the other direction.
 */

import { transfer } from 'comlink'
import type { GenerateResult } from '../pipelines/types.js'
import type { EngineEvent } from './protocol.js'

/** Transfers the pixels and the captured tensors of a result. */
export function transferResult(result: GenerateResult): GenerateResult {
  const arrays = [...result.images, ...Object.values(result.captured ?? {})]
  return transfer(result, buffersOf(arrays))
}

/** Transfers the previews of a batch of events. */
export function transferPreviews(events: readonly EngineEvent[]): readonly EngineEvent[] {
  const previews = events.map((event) => (event.type === 'step' ? event.step.preview : undefined))
  return transfer(events, buffersOf(previews.filter((preview) => preview !== undefined)))
}

/** The buffers without duplicates: `postMessage` throws if the transfer list contains a buffer twice. */
function buffersOf(arrays: readonly { readonly data: { readonly buffer: ArrayBuffer } }[]): ArrayBuffer[] {
  return [...new Set(arrays.map(({ data }) => data.buffer))]
}
