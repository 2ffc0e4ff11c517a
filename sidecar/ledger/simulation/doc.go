// Package simulation proves by trial that no limit in calls admits more than its amount,
// whatever happens to workers, sidecars, messages and clocks (invariant I1, docs/limits.md).
// It has tests only: nothing imports it.
//
// One world is one run: workers (internal/lease, driven as internal/gate does), sidecars
// (sidecar/ledger), one storage in memory, a network and clocks, all of it moved by one
// seeded source of chance, without goroutines and without real time. A step is one event.
// What is checked is computed from the true time of every admission, which no part of the
// world can see.
//
// What the world takes for granted is what the promise rests on: the storage's clock never
// runs faster than true time, but for steps; a worker's runs at most one part in a thousand
// faster or slower than that; a step of the storage's clock is seen by a sidecar that was
// there before and lives for a second after it; and the next step comes no sooner than every
// sidecar has seen the last one.
package simulation
