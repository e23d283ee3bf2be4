"""Jobs: admission, the queue, the scheduler, subscriptions, and recovery after a restart."""
