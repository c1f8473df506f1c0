/** The script that `npx aquatint` runs. */

import { main } from './main.js'

process.exitCode = await main(process.argv.slice(2))
