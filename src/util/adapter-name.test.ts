import { expect, it } from 'vitest'
import { adapterName } from './adapter-name.js'

it.each([
  [{ vendor: 'nvidia', architecture: 'ampere', device: '', description: '' }, 'nvidia ampere'],
  [{ vendor: 'apple', architecture: 'apple', device: '', description: 'Apple M2' }, 'apple Apple M2'],
  [{ vendor: '', architecture: '', device: '', description: '' }, ''],
  [{}, ''],
])('the adapter %j is named %j', (info, name) => expect(adapterName(info)).toBe(name))
