from pydantic import BaseModel, Field

from scheduler.job_type import SimpleJobType


class CountdownParams(BaseModel):
    steps: int = Field(default=10, ge=1, description="How far it counts")


class Countdown(SimpleJobType):
    name, summary, Params = "countdown", "Counts down to zero", CountdownParams

    def run(self, params, context):
        for done in range(params.steps):
            context.progress((done + 1) / params.steps)
        return {"counted": params.steps}
