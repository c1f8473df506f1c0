/**
 * `npm run bench:step [-- --rounds N]`: compares two kinds of denoising steps. In the first, the latents stay on the device. The second reads
 * the prediction back, applies guidance and the scheduler on the host, and uploads the result. Both run on WebGPU in headless Chromium, in one
 * run. Also reports the bytes that each kind reads back.
 */

import { parseArgs } from 'node:util'
import { withBenchPage } from './browser-page.js'
import type { StepTimes, Timed } from './step/page.js'

export async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({ args: [...args], options: { rounds: { type: 'string', default: '5' } } })
  await withBenchPage({ path: 'bench/step/index.html', ready: 'measureSteps' }, async (page) => {
    console.log(
      '| network, latents | steps | on the device, ms a step | by the host, ms a step | ratio (each round) | read back a step |',
    )
    console.log('| --- | ---: | ---: | ---: | --- | ---: |')
    for (const timed of ['none', 'tiny-sdxl'] as const) {
      const { name, steps, device, host, deviceBytes, hostBytes } = await page.evaluate<StepTimes, readonly [Timed, number]>(
        ([network, rounds]) => Reflect.get(globalThis, 'measureSteps')(network, rounds),
        [timed, Number(values.rounds)],
      )
      const ratios = device.map((time, i) => (time / (host[i] ?? Number.NaN)).toFixed(2))
      const cells = [name, steps, median(device).toFixed(1), median(host).toFixed(1), ratios.join(', ')]
      console.log(`| ${cells.join(' | ')} | ${deviceBytes} against ${hostBytes} bytes |`)
    }
  })
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN
}
