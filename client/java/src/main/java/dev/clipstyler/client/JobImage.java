package dev.clipstyler.client;

import com.google.protobuf.ByteString;
import dev.clipstyler.v1.ImageMetadata;

/**
 * An image of a job, or of a style.
 *
 * @param data its encoded bytes, complete and checked against their digest
 * @param metadata its format, size and digest
 */
public record JobImage(ByteString data, ImageMetadata metadata) {}
