package dev.clipstyler.client;

/**
 * A field of the request that cannot be used.
 *
 * @param field its path in the contract
 * @param description why it cannot be used, and what is expected
 */
public record FieldViolation(String field, String description) {}
