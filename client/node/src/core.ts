export { Code, ConnectError, type Interceptor } from "@connectrpc/connect";
export { Client, type ClientSettings, type StylizeInit } from "./client.js";
export { Encoders } from "./encoders.js";
export { StylizeError, type ErrorDetails, type FieldViolation } from "./errors.js";
export { type JobImage } from "./images.js";
export { Jobs, type CreateInit, type JobInit, type ListInit, type WatchInit } from "./jobs.js";
export { reportLostConnections } from "./lost.js";
export { CALL_TIMEOUT_MS, RETRY_POLICY, type CallLimits, type RetryPolicy } from "./retry.js";
export { type Photo, type SpecInit, type TextInit } from "./spec.js";
export { RESUME_TIMEOUT_MS, StylizationStream, type ResumesAfter } from "./stream.js";
export {
  Styles,
  type FitInit,
  type ListStylesInit,
  type RenderInit,
  type StyledPhoto,
  type StyleInit,
  type StylePhotos,
} from "./styles.js";
export * from "./gen/clipstyler/v1/encoder_service_pb.js";
export * from "./gen/clipstyler/v1/event_pb.js";
export * from "./gen/clipstyler/v1/image_pb.js";
export * from "./gen/clipstyler/v1/options_pb.js";
export * from "./gen/clipstyler/v1/region_pb.js";
export * from "./gen/clipstyler/v1/server_service_pb.js";
export * from "./gen/clipstyler/v1/style_pb.js";
export * from "./gen/clipstyler/v1/style_service_pb.js";
export * from "./gen/clipstyler/v1/stylization_pb.js";
export * from "./gen/clipstyler/v1/stylization_service_pb.js";
