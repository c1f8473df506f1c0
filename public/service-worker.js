/**
 * Keeps the page itself, its scripts and the runtime's wasm, so that it opens without a network. It never touches a model: weights
 * are fetched in ranges and kept, checked, by the engine's own cache.
 */

const cacheName = 'aquatint-shell-1'
const scope = new URL(self.registration.scope)

self.addEventListener('install', (event) => {
  event.waitUntil(refreshShell().then(() => self.skipWaiting()))
})

self.addEventListener('activate', (event) => {
  event.waitUntil(dropOldCaches().then(() => self.clients.claim()))
})

self.addEventListener('fetch', (event) => {
  const { request } = event
  const url = new URL(request.url)
  if (request.method !== 'GET' || url.origin !== scope.origin || !url.pathname.startsWith(scope.pathname)) return
  if (request.headers.has('range')) return
  const path = url.pathname.slice(scope.pathname.length)
  if (request.mode === 'navigate' && (path === '' || path === 'index.html')) event.respondWith(openPage(event))
  else if (path.startsWith('assets/')) event.respondWith(fromCacheFirst(request))
  else if (path.startsWith('icons/') || path === 'manifest.webmanifest') event.respondWith(fromNetworkFirst(request))
})

/** The page as the network has it, else as it was. */
async function openPage(event) {
  try {
    const response = await fetch(event.request)
    if (response.ok) event.waitUntil(response.clone().text().then(refreshShell))
    return response
  } catch (error) {
    const cached = await caches.match(scope.href, { cacheName })
    if (cached !== undefined) return cached
    throw error
  }
}

/** Names under assets/ hold a hash of their content: what is cached is right. */
async function fromCacheFirst(request) {
  const cached = await caches.match(request.url, { cacheName })
  if (cached !== undefined) return cached
  const response = await fetch(request)
  await keep(request.url, response)
  return response
}

async function fromNetworkFirst(request) {
  try {
    const response = await fetch(request)
    await keep(request.url, response)
    return response
  } catch (error) {
    const cached = await caches.match(request.url, { cacheName })
    if (cached !== undefined) return cached
    throw error
  }
}

async function keep(url, response) {
  if (!response.ok || response.status !== 200) return
  const copy = response.clone()
  try {
    const cache = await caches.open(cacheName)
    await cache.put(url, copy)
  } catch {
    // Storage is full: the page works, it only does not open offline.
  }
}

/**
 * Keeps the page and what it names. A page that has changed comes with other assets; the old ones go once all of the new are here, so
 * that the page opens offline whatever happens between.
 */
async function refreshShell(text) {
  const cache = await caches.open(cacheName)
  const page = text ?? (await (await fetch(scope.href, { cache: 'no-cache' })).text())
  const before = await cache.match(scope.href)
  if (before !== undefined && (await before.text()) === page) return
  const old = await cache.keys()
  const named = new Set(
    [...page.matchAll(/(?:src|href)="(\.\/(?:assets|icons)\/[^"]+|\.\/manifest\.webmanifest)"/g)].map(([, path]) => new URL(path, scope).href),
  )
  await Promise.all([...named].map((url) => cache.add(url)))
  await cache.put(scope.href, new Response(page, { headers: { 'content-type': 'text/html; charset=utf-8' } }))
  for (const request of old) if (request.url !== scope.href && !named.has(request.url)) await cache.delete(request)
}

async function dropOldCaches() {
  for (const name of await caches.keys()) if (name.startsWith('aquatint-shell-') && name !== cacheName) await caches.delete(name)
}
