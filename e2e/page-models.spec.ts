/** The panel of downloaded models, the free storage, and storage failures (docs/offline.md). */

import type { Page } from '@playwright/test'
import { readRepository, withFileList } from './fixture-repository.js'
import { expect, generate, model, openPage, query, test } from './ui/page-harness.js'

test('downloaded models are listed, verified and deleted; a model in use is not deleted, and Verify finds a damaged chunk', async ({
  page,
  server,
}) => {
  await openPage(page, server)
  await generate(page, 'a red apple')
  await page.getByRole('button', { name: 'Models' }).click()
  const dialog = page.getByRole('dialog', { name: 'Downloaded models' })
  const verify = dialog.getByRole('button', { name: `Verify ${model}` })
  await expect(dialog.getByText(model, { exact: true })).toBeVisible()
  await expect(dialog.getByText(/MB · \d+ files · last used .* · commit [0-9a-f]{8}/)).toBeVisible()
  await verify.click()
  await expect(dialog.getByText(/all \d+ chunks are intact/)).toBeVisible()
  await dialog.getByRole('button', { name: `Delete ${model}` }).click()
  await expect(dialog.getByText('Nothing was deleted: the model is in use')).toBeVisible()
  await expect(dialog.getByText(model, { exact: true })).toBeVisible()
  await dialog.getByRole('button', { name: 'Close' }).click()

  // The new page does not load the model, so the model is not in use and can be deleted.
  await page.goto('/')
  await damageCache(page)
  await page.getByRole('button', { name: 'Models' }).click()
  await verify.click()
  await expect(dialog.getByText(/1 of \d+ chunks were damaged and have been deleted/)).toBeVisible()
  await dialog.getByRole('button', { name: `Delete ${model}` }).click()
  await expect(dialog.getByText(/Freed [\d.]+ MB/)).toBeVisible()
  await expect(dialog.getByText(model, { exact: true })).toBeHidden()
})

test('the browser refuses persistent storage, then grants it; a model from a plain URL is listed by its URL, verified and deleted', async ({
  page,
  server,
}) => {
  // Chromium grants persistent storage by user engagement, which a test cannot have, so the test replaces the answer.
  await page.addInitScript(() => {
    Object.defineProperty(Navigator.prototype, 'vendor', { get: () => 'Apple Computer, Inc.' })
    const answers = [false, true]
    let persisted = false
    StorageManager.prototype.persist = () => Promise.resolve((persisted = answers.shift() ?? persisted))
    StorageManager.prototype.persisted = () => Promise.resolve(persisted)
  })
  server.setRepository(model, withFileList(readRepository(`${model}/repo`)))
  const address = server.staticUrl(model).replace(/\/$/, '')
  await openPage(page, server, { model: address })
  await generate(page, 'a red apple')
  await page.getByRole('button', { name: 'Models' }).click()
  const dialog = page.getByRole('dialog', { name: 'Downloaded models' })
  await expect(dialog.getByText(/about [\d.]+ [GT]B more can be stored/)).toBeVisible()
  await expect(dialog.getByText('the browser may delete models without asking')).toBeVisible()
  await expect(dialog.getByText('after seven days on which you used Safari but not this page')).toBeVisible()
  const ask = dialog.getByRole('button', { name: 'Ask the browser to keep them' })
  await ask.click()
  await expect(dialog.getByText(/^The browser refused\. .* Safari decides this without asking you\.$/)).toBeVisible()
  await expect(ask).toBeVisible()
  await ask.click()
  await expect(dialog.getByText('The browser will keep the models.')).toBeVisible()
  await expect(dialog.getByText('The browser has agreed not to delete models on its own.')).toBeVisible()
  await expect(dialog.getByText('after seven days')).toBeHidden()
  await expect(ask).toBeHidden()

  // The new page does not load the model, so the model is not in use and can be deleted.
  await page.goto('/')
  await page.getByRole('button', { name: 'Models' }).click()
  await expect(dialog.getByText(address, { exact: true })).toBeVisible()
  await dialog.getByRole('button', { name: `Verify ${address}` }).click()
  await expect(dialog.getByText(/all \d+ chunks are intact/)).toBeVisible()
  await dialog.getByRole('button', { name: `Delete ${address}` }).click()
  await expect(dialog.getByText(/Freed [\d.]+ MB/)).toBeVisible()
  await expect(dialog.getByText('No models downloaded yet.')).toBeHidden()
})

test('over quota, the picture is generated, and the page says that the gallery cannot store it', async ({ page, server }) => {
  await page.goto('/')
  const session = await page.context().newCDPSession(page)
  await session.send('Storage.overrideQuotaForOrigin', { origin: new URL(page.url()).origin, quotaSize: 1 })
  await page.goto(`/?${query(server)}`)
  await generate(page, 'a red apple')
  await expect(page.getByRole('img', { name: 'a red apple' })).toBeVisible()
  await expect(page.getByText('This picture could not be added to the gallery: the browser’s storage is full.')).toBeVisible()
})

/** Damages one stored chunk of weights. */
async function damageCache(page: Page): Promise<void> {
  await page.evaluate(async () => {
    for (const { name = '' } of await indexedDB.databases()) {
      const found = await new Promise<boolean>((resolve, reject) => {
        const opening = indexedDB.open(name)
        opening.addEventListener('error', () => reject(new Error(`${name} does not open`)))
        opening.addEventListener('success', () => {
          const database = opening.result
          const [store] = database.objectStoreNames
          if (name === 'aquatint-gallery' || store === undefined) {
            resolve(false)
            return
          }
          const transaction = database.transaction(store, 'readwrite')
          const cursors = transaction.objectStore(store).openCursor()
          let damaged = false
          cursors.addEventListener('success', () => {
            const cursor = cursors.result
            const value: unknown = cursor?.value
            if (cursor === null || damaged) return
            if (value instanceof Blob && value.size > 100_000) {
              damaged = true
              cursor.update(new Blob([new Uint8Array(value.size)]))
            } else cursor.continue()
          })
          transaction.addEventListener('complete', () => {
            database.close()
            resolve(damaged)
          })
        })
      })
      if (found) return
    }
    throw new Error('No chunk is stored')
  })
}
