/**
 * Changes every key that diffusers or transformers reads for a network, one key at a time. Aquatint must then have the library's output, or
 * refuse the config with an error that names the key. No change silently gives another picture.
 */

import { expect, test } from 'vitest'
import { AquatintError } from '../errors.js'
import { changedConfig, keyRuns, readKeyCases, sameRuns, sampleRuns, type KeyCase } from './config-keys.node.js'

const cases = readKeyCases()

/**
 * The largest difference from the samples of diffusers or transformers, relative to the largest absolute value among these. The fixture
 * stores six digits; both sides compute in float32.
 */
function difference(actual: readonly number[], expected: readonly number[]): number {
  if (actual.length !== expected.length) return Infinity
  const peak = Math.max(...expected.filter((_, index) => index % 13 !== 0).map(Math.abs))
  const worst = expected.map((value, index) => Math.abs(value - (actual[index] ?? Number.NaN)))
  return worst.some(Number.isNaN) ? Infinity : Math.max(...worst) / peak
}
const tolerance = 2e-5

/**
 * Keys that the pipelines read, not the networks. A config may be refused for such a key, even if the change leaves the network's output
 * the same.
 */
const pipelineKeys: ReadonlySet<string> = new Set(['scaling_factor', 'time_cond_proj_dim'])

/** How Aquatint's result differs from that of diffusers or transformers after a change; null if it does not differ. */
async function fault(
  item: KeyCase,
  base: ReturnType<typeof keyRuns>,
  change: KeyCase['changes'][number],
): Promise<string | null> {
  const [key, judged] = change
  let runs: ReturnType<typeof keyRuns>
  try {
    runs = keyRuns(item.class, changedConfig(item, change))
  } catch (error) {
    if (!(error instanceof AquatintError)) return `fails with ${String(error)}`
    if (judged === 'same' && !pipelineKeys.has(key)) return `is refused (${error.message}) and changes nothing`
    return judged === 'error' || error.message.includes(key) || error.details['key'] !== undefined
      ? null
      : `names no key: ${error.message}`
  }
  if (judged === 'error') return null
  if (sameRuns(runs, base)) return judged === 'same' ? null : 'changes nothing, but does in the library'
  try {
    const worst = difference(await sampleRuns(runs), judged === 'same' ? item.output : judged)
    return worst <= tolerance ? null : `differs by ${worst}`
  } catch (error) {
    return `cannot run: ${String(error).slice(0, 200)}`
  }
}

test('the fixture has changes of each kind for each class', () => {
  expect(cases.map((item) => item.class)).toContain('T5EncoderModel')
  for (const { changes } of cases) {
    for (const kind of ['same', 'error']) expect(changes.filter(([, judged]) => judged === kind).length).toBeGreaterThan(5)
    expect(changes.filter(([, judged]) => typeof judged !== 'string').length).toBeGreaterThan(5)
  }
})

test.each(cases.map((item, index) => [`${item.class} ${index}`, item] as const))(
  '%s: each changed key has the effect that it has in diffusers or transformers, or is refused',
  async (_, item) => {
    const base = keyRuns(item.class, item.config)
    expect(difference(await sampleRuns(base), item.output)).toBeLessThanOrEqual(tolerance)
    const faults: string[] = []
    for (const change of item.changes) {
      const found = await fault(item, base, change)
      if (found !== null) faults.push(`${change[0]} ${change.length < 3 ? 'left out' : JSON.stringify(change[2])}: ${found}`)
    }
    expect(faults).toEqual([])
  },
)
