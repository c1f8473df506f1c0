/** The memory of this process, for tests in Node. */

import { getHeapStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** The bytes in use, on the heap and in buffers, including garbage that was not collected yet. */
export function heldBytes(): number {
  const { used_heap_size: heap, external_memory: buffers } = getHeapStatistics()
  return heap + buffers
}

/** Collects garbage until nothing more is freed: V8 frees buffers on a thread of its own. */
export async function collectGarbage(): Promise<void> {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  let [before, after] = [Infinity, heldBytes()]
  while (after < before - 1e5) {
    before = after
    collect()
    await new Promise((resolve) => setTimeout(resolve, 20))
    collect()
    after = heldBytes()
  }
}
