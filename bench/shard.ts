/**
 * Measures the peak memory of `aquatint shard` on one large tensor, as the system counts it, and compares it with the size of the written shard and with an idle
 * Node process.
 *
 *     npm run bench:shard [-- gigabytes]      needs as much free disk space as the file has bytes
 */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { table } from '../cli/output.js'
import { buildCli, measurePeak, writeSparse } from '../cli/testing-process.js'
import { formatBytes } from '../src/util/format-bytes.js'

export async function main(args: readonly string[]): Promise<number> {
  const gigabytes = Number(args[0] ?? '2.3')
  if (!(gigabytes > 0)) throw new Error('npm run bench:shard [-- gigabytes]')
  const [cli, folder] = [await buildCli(), await mkdtemp(join(tmpdir(), 'aquatint-'))]
  const rows = [['float32 to', 'one shard of', 'peak memory', 'share']]
  try {
    const { peakBytes: nothing } = await measurePeak(cli, ['--version'])
    rows.push(['(only --version)', '', formatBytes(nothing), ''])
    const source = join(folder, 'source')
    await writeSparse(source, Math.ceil((gigabytes * 1e9) / 16_384))
    for (const dtype of ['float32', 'float16', 'bfloat16', 'q8', 'q4']) {
      const out = join(folder, dtype)
      const line = ['shard', source, '--out', out, '--max-shard-size', '100GB', '--dtype', dtype, '--json']
      const { code, stdout, stderr, peakBytes } = await measurePeak(cli, line)
      if (code !== 0) throw new Error(`${stdout}${stderr}`)
      const { components } = JSON.parse(stdout) as { components: { bytes: number }[] }
      const bytes = components[0]?.bytes ?? 0
      rows.push([dtype, formatBytes(bytes), formatBytes(peakBytes), `${((100 * peakBytes) / bytes).toFixed(0)} %`])
      await rm(out, { recursive: true })
    }
  } finally {
    await rm(folder, { recursive: true })
    await cli.remove()
  }
  console.log(table(rows))
  return 0
}
