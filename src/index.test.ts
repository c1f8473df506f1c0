/** Lists the names of the public API, so that none is added or removed by accident. */
import { expect, test } from 'vitest'
import * as api from './index.js'

test('the public API is exactly these names', () => {
  expect(Object.keys(api).sort()).toEqual([
    'AquatintError',
    'CheckpointError',
    'DeviceError',
    'DiffusionPipeline',
    'Engine',
    'GeneratedImage',
    'HubError',
    'InputError',
    'ModelCache',
    'StorageError',
    'UnsupportedError',
    'componentLabel',
    'isAquatintError',
    'readPngText',
  ])
})
