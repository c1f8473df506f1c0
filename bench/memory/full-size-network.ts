/** Serves one full-size network with generated weights, runs it in the benchmarks' page, and prints its memory and time. */

import { startHubServer } from '../../e2e/hub-server/server.js'
import type { VirtualFile } from '../../e2e/hub-server/repositories.js'
import { ensureChromium } from '../../scripts/chromium.mjs'
import type { MemorySnapshot } from '../../src/runtime/types.js'
import { formatBytes } from '../../src/util/format-bytes.js'
import { openBenchPage } from './browser.js'
import type { NetworkRequest } from './protocol.js'

const id = 'owner/full-size'

/** Runs the network and prints `title`, the device and the budget before the results. Returns 1 if a run used more memory than planned. */
export async function benchNetwork(
  files: Readonly<Record<string, VirtualFile | string>>,
  request: Omit<NetworkRequest, 'endpoint' | 'repo'>,
  title: string,
): Promise<number> {
  ensureChromium()
  const inFolder = Object.entries(files).map(([name, file]) => [`${request.name}/${name}`, file] as const)
  const server = await startHubServer({ repositories: { [id]: Object.fromEntries(inFolder) } })
  const bench = await openBenchPage()
  try {
    await server.commit(id)
    const result = await bench.page.evaluate(
      (given) => {
        if (window.runNetwork === undefined) throw new Error('The page has no runNetwork')
        return window.runNetwork(given)
      },
      { endpoint: server.url, repo: id, ...request },
    )
    const { memory, runSeconds, quantizeSeconds } = result
    const budget = request.maxMemory === undefined ? 'none' : formatBytes(request.maxMemory)
    console.log(`${title}; device ${result.device}, budget ${budget}`)
    const quantize = request.quantization === undefined ? '' : `${request.quantization} made in ${quantizeSeconds.toFixed(1)} s; `
    console.log(
      `download and cache: ${result.downloadSeconds.toFixed(1)} s; ${quantize}runs: ${runSeconds.map((run) => run.toFixed(1)).join(', ')} s`,
    )
    printMemory(memory, bench.peaks(), result.plannedPeak)
    console.log(`largest output value ${result.largest}`)
    return memory.peak <= result.plannedPeak ? 0 : 1
  } finally {
    await bench.close()
    await server.close()
  }
}

/** Prints the planned and the measured bytes of GPU buffers, and the most resident bytes of each kind of process. */
export function printMemory(memory: MemorySnapshot, peaks: Readonly<Record<string, number>>, planned?: number): void {
  const plan = planned === undefined ? '' : `planned at most ${formatBytes(planned)}, `
  console.log(`GPU buffers: ${plan}measured ${formatBytes(memory.peak)} (weights ${formatBytes(memory.peakWeights)})`)
  for (const [kind, peak] of Object.entries(peaks)) console.log(`${kind} process: at most ${formatBytes(peak)} resident`)
}
