/**
 * Waits for the GPU without the delay that Firefox adds. Every 100 milliseconds, and at every submission, Firefox (measured in 153) checks
 * what the GPU has finished. So while something is awaited, this file makes empty submissions, at growing intervals. In other browsers an
 * empty submission changes nothing.
 */

const shortest = 1
/** The longest interval in milliseconds. Even a long run has only some tens of empty submissions in a second. */
const longest = 25

/** Waits for `work`, a promise of `mapAsync` or `onSubmittedWorkDone`. `submitNothing` makes an empty submission to the queue. */
export async function awaitGpu<T>(work: Promise<T>, submitNothing: () => void): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const askAfter = (milliseconds: number) => {
    timer = setTimeout(() => {
      submitNothing()
      askAfter(Math.min(longest, 2 * milliseconds))
    }, milliseconds)
  }
  askAfter(shortest)
  try {
    return await work
  } finally {
    clearTimeout(timer)
  }
}
