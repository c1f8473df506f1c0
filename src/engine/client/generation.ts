/** The running generation that `generate` returns: a promise of its result that can also be iterated over its steps. */

import type { StepInfo } from '../../pipelines/types.js'
import { deferred } from '../../util/deferred.js'

/**
 * Await it for the result, iterate over it for the steps, or do both: `for await (const step of generation)` yields every step from the
 * first one, ends with the generation, and throws what the generation throws. Leaving the loop does not cancel the generation; a `signal` does.
 */
export type Generation<Output> = Promise<Output> & AsyncIterable<StepInfo>

/** Starts `run`, which reports each step to the function that it receives. */
export function startGeneration<Output>(run: (onStep: (step: StepInfo) => void) => Promise<Output>): Generation<Output> {
  const steps: StepInfo[] = []
  let isOver = false
  let news = deferred()
  const wake = () => {
    news.resolve()
    news = deferred()
  }
  const output = run((step) => {
    steps.push(step)
    wake()
  })
  const over = () => {
    isOver = true
    wake()
  }
  async function* iterate(): AsyncGenerator<StepInfo, void, undefined> {
    // The loop throws the error, so nobody has to await the promise as well.
    output.then(over, over)
    for (let next = 0; ; next++) {
      while (next >= steps.length) {
        if (isOver) {
          await output
          return
        }
        await news.promise
      }
      const step = steps[next]
      if (step !== undefined) yield step
    }
  }
  return Object.assign(output, { [Symbol.asyncIterator]: iterate })
}
