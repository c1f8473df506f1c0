/** `npm run fuzz -- [mutations per target] [seed]`: a long run of mutated headers, indexes and configs, each with a limit on processor time. */
import { spawnSync } from 'node:child_process'

const [mutations = '200000', seed = '1'] = process.argv.slice(2)
const { status } = spawnSync(
  'npx',
  ['vitest', 'run', '--project', 'slow', 'src/checkpoint/fuzz.test.ts', 'src/checkpoint/size-limits.test.ts'],
  {
    stdio: 'inherit',
    env: { ...process.env, FUZZ_MUTATIONS: mutations, FUZZ_SEED: seed },
  },
)
process.exit(status ?? 1)
