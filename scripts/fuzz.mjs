/** Long fuzz run over headers, indexes and configs: `npm run fuzz -- [mutations per target] [seed]`. */
import { spawnSync } from 'node:child_process'

const [mutations = '200000', seed = '1'] = process.argv.slice(2)
const { status } = spawnSync('npx', ['vitest', 'run', '--project', 'node', 'src/checkpoint/fuzz.test.ts'], {
  stdio: 'inherit',
  env: { ...process.env, FUZZ_MUTATIONS: mutations, FUZZ_SEED: seed },
})
process.exit(status ?? 1)
