/* Threads that start within a microsecond: a step of a network is hundreds of tasks, each shorter than waking a thread. */
#include "vectors.h"
#include <pthread.h>
#include <stdatomic.h>
#ifdef __x86_64__
#define PAUSE() _mm_pause()
#else
#define PAUSE() ((void)0)
#endif

#define MAX_THREADS 64
#define SPINS 4000 /* about a tenth of a millisecond; whoever waits longer sleeps, so that the others get its core */

static struct {
    int size;
    Task task;
    void *context;
    atomic_uint start, done, arrived, passed, asleep;
    unsigned born[MAX_THREADS]; /* starts before each thread */
    pthread_mutex_t turn;        /* of whoever has the team do a task */
    pthread_mutex_t lock;        /* of who sleeps */
    pthread_cond_t wake;
} team = {.size = 1, .turn = PTHREAD_MUTEX_INITIALIZER, .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

/* After a fork only the thread that forked is left, and the state of the others' waiting means nothing. */
static void leave_parents_team(void) {
    team.size = 1;
    atomic_store(&team.asleep, 0);
    pthread_mutex_init(&team.turn, NULL);
    pthread_mutex_init(&team.lock, NULL);
    pthread_cond_init(&team.wake, NULL);
}

__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(NULL, NULL, leave_parents_team); }

static void until_changed(atomic_uint *value, unsigned old) {
    for (int spin = 0; spin < SPINS; spin++) {
        if (atomic_load_explicit(value, memory_order_acquire) != old) return;
        PAUSE();
    }
    pthread_mutex_lock(&team.lock);
    atomic_fetch_add(&team.asleep, 1); /* before the last look: who changes the value looks at this after it */
    while (atomic_load(value) == old) pthread_cond_wait(&team.wake, &team.lock);
    atomic_fetch_sub(&team.asleep, 1);
    pthread_mutex_unlock(&team.lock);
}

static void change(atomic_uint *value) {
    atomic_fetch_add(value, 1);
    if (!atomic_load(&team.asleep)) return;
    pthread_mutex_lock(&team.lock);
    pthread_cond_broadcast(&team.wake);
    pthread_mutex_unlock(&team.lock);
}

static void *work(void *argument) {
    const int part = (int)(intptr_t)argument;
    for (unsigned seen = team.born[part];; seen++) {
        until_changed(&team.start, seen);
        team.task(team.context, part, team.size);
        change(&team.done);
    }
    return NULL;
}

/* Have at least so many threads from now on; returns how many there are. */
int start_team(int size) {
    pthread_mutex_lock(&team.turn);
    for (size = size < MAX_THREADS ? size : MAX_THREADS; team.size < size; team.size++) {
        pthread_t thread;
        team.born[team.size] = atomic_load(&team.start);
        if (pthread_create(&thread, NULL, work, (void *)(intptr_t)team.size)) break;
        pthread_detach(thread);
    }
    size = team.size;
    pthread_mutex_unlock(&team.turn);
    return size;
}

/* Returns when all have done their part; who comes meanwhile waits. */
void together(Task task, void *context) {
    pthread_mutex_lock(&team.turn);
    team.task = task, team.context = context;
    atomic_store(&team.done, 0);
    change(&team.start);
    task(context, 0, team.size);
    for (unsigned done; (done = atomic_load(&team.done)) != (unsigned)team.size - 1;) until_changed(&team.done, done);
    pthread_mutex_unlock(&team.turn);
}

void meet(void) {
    const unsigned passed = atomic_load(&team.passed);
    if (atomic_fetch_add(&team.arrived, 1) == (unsigned)team.size - 1) {
        atomic_store(&team.arrived, 0);
        change(&team.passed);
    } else {
        until_changed(&team.passed, passed);
    }
}
