package dev.clipstyler.client;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import dev.clipstyler.v1.Error;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** A call or a job failed. */
public final class StylizeException extends RuntimeException {
  private static final long serialVersionUID = 1;

  private final Status.Code code;
  private final transient Details details;

  private StylizeException(Status.Code code, String message, Details details, Throwable cause) {
    super(message, cause);
    this.code = code;
    this.details = details;
  }

  /** Canonical code. */
  public Status.Code code() {
    return code;
  }

  /** Stable reason in UPPER_SNAKE_CASE; "" if the server gave none. */
  public String reason() {
    return details.reason;
  }

  /** Every variable part of the message, by name. */
  public Map<String, String> metadata() {
    return details.metadata;
  }

  /** Every field that cannot be used. */
  public List<FieldViolation> violations() {
    return details.violations;
  }

  /** Time after which a retry makes sense, if the server recommends one. */
  public Optional<Duration> retryDelay() {
    return Optional.ofNullable(details.retryDelay);
  }

  /** Translates the error that a job or a failed event carries. */
  public static StylizeException of(Error error) {
    var violations = error.getFieldViolationsList().stream()
        .map(violation -> new FieldViolation(violation.getField(), violation.getDescription()))
        .toList();
    var delay = error.hasRetryDelay() ? duration(error.getRetryDelay()) : null;
    var details = new Details(error.getReason(), Map.copyOf(error.getMetadataMap()), violations, delay);
    return new StylizeException(Status.fromCodeValue(error.getCodeValue()).getCode(), error.getMessage(), details, null);
  }

  /** Translates what a call threw. */
  static StylizeException of(StatusRuntimeException failure) {
    var status = failure.getStatus();
    var message = status.getDescription() == null ? status.getCode().name() : status.getDescription();
    return new StylizeException(status.getCode(), message, Details.of(failure), failure);
  }

  /** Translates what a call threw that is read and written by turns. */
  static StylizeException of(StatusException failure) {
    return of(failure.getStatus().asRuntimeException(failure.getTrailers()));
  }

  static StylizeException of(Status.Code code, String reason, String message) {
    return new StylizeException(code, message, new Details(reason, Map.of(), List.of(), null), null);
  }

  /** The error of bytes that are not those that the server announced. */
  static StylizeException broken(String problem) {
    return of(Status.Code.DATA_LOSS, "BROKEN_RESULT", problem + "; request it again");
  }

  private static Duration duration(com.google.protobuf.Duration delay) {
    return Duration.ofSeconds(delay.getSeconds(), delay.getNanos());
  }

  private record Details(
      String reason, Map<String, String> metadata, List<FieldViolation> violations, Duration retryDelay) {

    /** Details of kinds that are not known are left out. */
    static Details of(StatusRuntimeException failure) {
      var info = ErrorInfo.getDefaultInstance();
      var violations = new ArrayList<FieldViolation>();
      Duration retryDelay = null;
      var status = StatusProto.fromThrowable(failure);
      for (Any detail : status == null ? List.<Any>of() : status.getDetailsList()) {
        try {
          if (detail.is(ErrorInfo.class)) {
            info = detail.unpack(ErrorInfo.class);
          } else if (detail.is(BadRequest.class)) {
            for (var violation : detail.unpack(BadRequest.class).getFieldViolationsList()) {
              violations.add(new FieldViolation(violation.getField(), violation.getDescription()));
            }
          } else if (detail.is(RetryInfo.class)) {
            retryDelay = duration(detail.unpack(RetryInfo.class).getRetryDelay());
          }
        } catch (InvalidProtocolBufferException damaged) {
          continue; // the code and the message are still worth reporting
        }
      }
      return new Details(info.getReason(), Map.copyOf(info.getMetadataMap()), List.copyOf(violations), retryDelay);
    }
  }
}
