import { expect, test } from 'vitest'
import { DeviceError, InputError } from '../errors.js'
import { RecoveryLadder, type Setup } from './recovery.js'

const lost = new DeviceError('device-lost', 'The GPU device was lost.')
const full = new DeviceError('out-of-memory', 'The GPU ran out of memory.')
const resident: Setup = { residence: 'resident', tiled: false }

test('a lost device is rebuilt; a second loss within two minutes is the end', () => {
  let now = 1000
  const ladder = new RecoveryLadder(() => now)
  expect(ladder.next(lost, resident)).toEqual({ action: 'rebuild' })
  now += 121_000
  expect(ladder.next(lost, resident)).toEqual({ action: 'rebuild' })
  now += 30_000
  expect(ladder.next(lost, resident)).toMatchObject({
    action: 'fail',
    error: { code: 'device-lost-again', details: { seconds: 30 } },
  })
})

test('out of memory tightens step by step, then says what is left to try', () => {
  const ladder = new RecoveryLadder()
  const steps = []
  let setup = resident
  for (;;) {
    const step = ladder.next(full, setup)
    if (step.action !== 'change') {
      expect(step).toMatchObject({ action: 'fail', error: { code: 'out-of-memory' } })
      break
    }
    setup = step.setup
    steps.push(setup)
  }
  expect(steps).toEqual([
    { residence: 'model', tiled: false },
    { residence: 'block', tiled: false },
    { residence: 'block', tiled: true },
  ])
})

test('other errors pass', () => {
  const error = new InputError('shape-mismatch', 'no')
  expect(new RecoveryLadder().next(error, resident)).toEqual({ action: 'fail', error })
})
