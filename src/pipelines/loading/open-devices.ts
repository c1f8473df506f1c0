/** Opens the devices that a pipeline's options name, and puts its networks on them. */

import { InputError } from '../../errors.js'
import { checkDeviceMap } from '../../memory/balance.js'
import { MemoryAccount } from '../../runtime/memory-account.js'
import { checkDeviceKind, checkKernels, listDevices, openDevice } from '../../runtime/open-device.js'
import { ComponentHost } from '../execution/component-host.js'
import { DeviceHosts, type Preparation } from '../execution/device-hosts.js'
import type { Network } from '../bind-network.js'
import { budgetOn, parseBudget, type Budget } from '../../memory/budget.js'
import { orThrow } from '../../memory/refusal.js'
import { checkOffload } from '../planning/residence.js'
import type { LoadPipelineOptions } from '../types.js'
import type { DeviceName } from '../../memory/device-info.js'
import { decidePlaces } from '../planning/place-networks.js'
import { plannedSize, type GenerationSpec } from './plan-networks.js'
import { chooseDevices, type ChosenDevices } from './choose-devices.js'
import type { Device } from '../../runtime/device.js'

/** The devices of a pipeline, open, with nothing on them yet. */
export interface OpenDevices extends ChosenDevices<Device> {
  /** Counts the memory of all devices together. */
  readonly total: MemoryAccount
}

/** Checks the options for devices and memory, and gives `maxMemory` in bytes. @throws InputError `bad-device`, `bad-device-map`, `bad-kernels`, `bad-memory-size`, `offload` */
export function checkPlacing({ device, deviceMap, kernels, maxMemory, offload }: LoadPipelineOptions): Budget {
  checkDeviceKind(device)
  checkDeviceMap(deviceMap)
  checkKernels(kernels)
  checkOffload(offload)
  const budget = parseBudget(maxMemory)
  if (deviceMap !== 'balanced') return budget
  if (device !== undefined && device !== 'auto')
    throw new InputError(
      'bad-device-map',
      `deviceMap 'balanced' chooses the devices itself and cannot be combined with device ${device}.`,
      {
        device,
      },
    )
  if (offload === 'model' || offload === 'block')
    throw new InputError(
      'bad-device-map',
      `deviceMap 'balanced' keeps all components loaded, so offload must be 'resident', not '${offload}'. A deviceMap with component names works with every offload.`,
      { offload },
    )
  return budget
}

/**
 * Opens the devices for these networks.
 * @throws InputError `bad-device-map`; DeviceError `webgpu-not-available`, `no-second-adapter`, `runtime-not-loaded`
 */
export async function openDevices(
  options: Pick<LoadPipelineOptions, 'device' | 'deviceMap' | 'kernels'>,
  budget: Budget,
  networks: readonly string[],
): Promise<OpenDevices> {
  const total = new MemoryAccount()
  const opened: Device[] = []
  const open = async (kind: DeviceName | 'auto' | undefined) => {
    const device = await openDevice({ kind, total, kernels: options.kernels })
    opened.push(device)
    return device
  }
  try {
    return { ...(await chooseDevices({ list: listDevices, open }, options, budget, networks)), total }
  } catch (error) {
    for (const device of opened) await device.dispose()
    throw error
  }
}

/** Puts networks on devices and closes the devices that get none. @throws DeviceError `does-not-fit` with bytes needed and offered; `buffer-too-large`; InputError for the size of `prepareFor` */
export async function placeNetworks(
  { devices, places, budget, total }: OpenDevices,
  networks: ReadonlyMap<string, Network>,
  options: LoadPipelineOptions,
  spec: GenerationSpec,
  preparation?: Preparation,
): Promise<DeviceHosts> {
  const wanted = () => plannedSize(networks, options.prepareFor ?? {}, spec).latent
  const request = { devices: [...devices.values()], places, budget, networks, options, wanted }
  const { dtype, placed, used } = orThrow(decidePlaces(request))
  const hosts = new Map<DeviceName, ComponentHost>()
  for (const { device, offload, heldBytes } of used) {
    const { vaeTiling } = options
    const own = budgetOn(budget, device.info)
    hosts.set(device.info.name, new ComponentHost({ device, dtype, offload, budget: own, vaeTiling, heldBytes, total }))
  }
  for (const [name, device] of devices) if (!hosts.has(name)) await device.dispose()
  return new DeviceHosts(hosts, placed, networks, total, preparation)
}
